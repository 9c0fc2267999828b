// /stats, /stats/prometheus, /reset_counters.

import { statsPrometheus } from '../observe/prometheus.ts'
import { statsJson, statsText } from '../observe/stats-print.ts'
import { parseStatsQuery } from '../observe/stats-query.ts'
import { type AdminRequest, type AdminResponse, OK, text } from './response.ts'
import type { AdminSource } from './source.ts'

export async function stats(request: AdminRequest, source: AdminSource): Promise<AdminResponse> {
  const query = parseStatsQuery(request.query)
  if (typeof query === 'string') return text(query, 400)
  const all = await source.stats()
  const endpoints = await source.endpointCounts()
  switch (query.format) {
    case 'prometheus':
      return text(statsPrometheus(all, query, source.statsTags, source.histogramBuckets, endpoints))
    case 'json':
      return {
        status: 200,
        contentType: 'application/json',
        body: statsJson(all, query, source.histogramBuckets, endpoints),
      }
    case 'html': {
      const lines = escapeHtml(statsText(all, query, source.histogramBuckets, endpoints))
      return {
        status: 200,
        contentType: 'text/html; charset=UTF-8',
        body: `<!DOCTYPE html><title>stats</title><pre>${lines}</pre>\n`,
      }
    }
    case 'text':
      return text(statsText(all, query, source.histogramBuckets, endpoints))
  }
}

export async function prometheus(request: AdminRequest, source: AdminSource): Promise<AdminResponse> {
  request.query.set('format', 'prometheus')
  return stats(request, source)
}

export async function resetCounters(_request: AdminRequest, source: AdminSource): Promise<AdminResponse> {
  ;(await source.stats()).resetCounters()
  return OK
}

function escapeHtml(body: string): string {
  return body.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
