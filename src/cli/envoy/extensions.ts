// proxy-config ecds and the versions of proxy-config bootstrap.

import { tabulate } from '../tab-writer.ts'
import type { ConfigDump, Json } from './config-dump.ts'
import { object, string } from './json.ts'

/** ECDS NAME, TYPE. Throws UserError when the dump has no ECDS section. */
export function ecdsTable(dump: ConfigDump): string {
  const rows = dump
    .list('EcdsConfigDump', 'ecds_filters', 'ecds_filter')
    .map(({ value }) => [string(value, 'name'), typeName(object(value, 'typed_config'))])
  return tabulate([['ECDS NAME', 'TYPE'], ...rows], 5)
}

function typeName(config: Json | undefined): string {
  const url = string(config, '@type')
  return url.slice(url.lastIndexOf('/') + 1)
}

/** Istio Version, Istio Proxy Version, Envoy Version of a bootstrap. */
export function bootstrapSummary(bootstrap: Json): string {
  const node = object(bootstrap, 'node')
  const metadata = object(node, 'metadata')
  const build = object(node, 'user_agent_build_version')
  const version = object(build, 'version')
  const number = (name: string) => String(version?.[name] ?? 0)
  const built = object(build, 'metadata')
  const label = string(built, 'build.label')
  const details = ['revision.status', 'build.type', 'ssl.version'].map((key) => string(built, key)).filter(Boolean)
  const envoy = `${number('major_number')}.${number('minor_number')}.${number('patch')}${label ? `-${label}` : ''}`
  const facts: [string, string][] = [
    ['Istio Version:', string(metadata, 'ISTIO_VERSION')],
    ['Istio Proxy Version:', string(metadata, 'ISTIO_PROXY_SHA').replace(/^[^:]*:/, '')],
    ['Envoy Version:', [envoy, ...details].join('/')],
  ]
  return tabulate(
    facts.filter(([, value]) => value !== ''),
    1,
  )
}
