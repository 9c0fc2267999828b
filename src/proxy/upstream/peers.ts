// What one worker finds out for all of them: health, ejections and addresses. The first worker leads: it checks, resolves
// and judges, and tells the others, which report what only they have seen (as Envoy's main thread and workers do).

import type { MessagePort } from 'node:worker_threads'

/** From the leader, about the cluster with this `id` (ClusterData). */
export type ClusterNews =
  /** A host is there, or its health has changed: the bits of SHARED_HEALTH. `tally`: its counts for outlier detection. */
  | {
      readonly kind: 'host'
      readonly cluster: number
      readonly host: string
      readonly flags: number
      readonly tally: SharedArrayBuffer | null
    }
  | { readonly kind: 'host-gone'; readonly cluster: number; readonly host: string }
  /** The name at this place in the cluster's configuration has been answered. */
  | {
      readonly kind: 'name'
      readonly cluster: number
      readonly target: number
      readonly addresses: readonly string[]
    }
  /** Its first round of health checks is over. */
  | { readonly kind: 'checked'; readonly cluster: number }
  | { readonly kind: 'cluster-gone'; readonly cluster: number }

/** To the leader. */
export type ClusterReport =
  /** Counts of a host reached thresholds: bits of HostTally. */
  | { readonly kind: 'offenses'; readonly cluster: number; readonly host: string; readonly offenses: number }
  /** x-envoy-immediate-health-check-fail. */
  | { readonly kind: 'immediate-failure'; readonly cluster: number; readonly host: string }

/** The other workers of the process. */
export interface Peers {
  /** This worker finds things out itself. */
  readonly leads: boolean
  /** Nobody else is there to be told. */
  readonly alone: boolean
  /** Leader only. */
  tell(news: ClusterNews): void
  /** Others only. */
  report(report: ClusterReport): void
  /** Takes what others send; called once. */
  listen(onNews: (news: ClusterNews) => void, onReport: (report: ClusterReport) => void): void
}

/** Ports that connect the workers: the leader has one for each other worker, each other worker one to the leader. */
export interface PeerPorts {
  readonly leads: boolean
  readonly ports: readonly MessagePort[]
}

/** A process of one worker. */
export const ALONE: Peers = {
  leads: true,
  alone: true,
  tell() {},
  report() {},
  listen() {},
}

export function createPeers({ leads, ports }: PeerPorts): Peers {
  if (ports.length === 0) return ALONE
  const send = (message: ClusterNews | ClusterReport): void => {
    for (const port of ports) port.postMessage(message)
  }
  return {
    leads,
    alone: false,
    tell: send,
    report: send,
    listen(onNews, onReport) {
      const take = leads
        ? (message: unknown) => onReport(message as ClusterReport)
        : (message: unknown) => onNews(message as ClusterNews)
      for (const port of ports) {
        port.on('message', take)
        // Listeners keep a worker alive; these ports alone do not.
        port.unref()
      }
    },
  }
}

/** What a worker has been told about one cluster: kept, because news may come before the cluster itself. */
export class ClusterBoard {
  readonly hosts = new Map<string, HostNews>()
  /** Answers by place of the name. */
  readonly names = new Map<number, readonly string[]>()
  /** The first round of health checks is over. */
  checked = false
}

export interface HostNews {
  readonly flags: number
  readonly tally: SharedArrayBuffer | null
  /** The leader has it no more. */
  readonly gone: boolean
}
