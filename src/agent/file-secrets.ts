// Secrets in files of the pod, which their names tell: rules and Gateways that name paths instead of a credential.

import { existsSync, readFileSync } from 'node:fs'
import { errorText } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { watchFile } from '../base/watch-file.ts'
import type { SecretValue } from '../proxy/index.ts'

/** Where the systems keep the authorities that they trust. The first that exists is what `file-root:system` means. */
const SYSTEM_ROOTS = [
  '/etc/ssl/certs/ca-certificates.crt', // Debian, Ubuntu, Gentoo, Arch
  '/etc/pki/tls/certs/ca-bundle.crt', // Fedora, RHEL 6
  '/etc/ssl/ca-bundle.pem', // openSUSE
  '/etc/pki/tls/cacert.pem', // OpenELEC
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem', // RHEL 7 and later
  '/etc/ssl/cert.pem', // Alpine
]
/** How long to wait before a folder that cannot be watched is tried again. */
const RETRY_MS = 1000

type Field = keyof SecretValue

/** The files of a secret: `file-cert:CHAIN~KEY`, `file-root:PATH`, `file-root:system`; null for other names. */
export function secretFiles(
  name: string,
  exists: (path: string) => boolean = existsSync,
): readonly (readonly [field: Field, path: string])[] | null {
  if (name === 'file-root:system') {
    const path = SYSTEM_ROOTS.find(exists) ?? SYSTEM_ROOTS[0]!
    return [['trustedCa', path]]
  }
  const colon = name.indexOf(':')
  const paths = name.slice(colon + 1).split('~')
  if (paths.includes('')) return null
  switch (name.slice(0, colon)) {
    case 'file-cert':
      return paths.length === 2
        ? [
            ['certificateChain', paths[0]!],
            ['privateKey', paths[1]!],
          ]
        : null
    case 'file-root':
      return paths.length === 1 ? [['trustedCa', paths[0]!]] : null
    default:
      return null
  }
}

/**
 * Calls back with what the files of `name` hold, and again whenever that changes. Files that are not there yet are waited
 * for; those that go away leave the last value in force. Null when `name` tells no files, else the function that ends it.
 */
export function watchSecretFiles(
  name: string,
  onSecret: (secret: SecretValue) => void,
  log: Logger,
): (() => void) | null {
  const files = secretFiles(name)
  if (files === null) return null
  let endWatches: (() => void)[] = []
  let timer: NodeJS.Timeout | null = null
  let last = ''
  let told = ''
  const complain = (error: unknown): void => {
    const reason = errorText(error)
    if (reason !== told) log.warn({ secret: name, reason }, 'the files of a secret cannot be read')
    told = reason
  }
  const read = (): void => {
    const value: { -readonly [field in Field]?: string } = {}
    try {
      for (const [field, path] of files) value[field] = readFileSync(path, 'latin1')
    } catch (error) {
      complain(error)
      return
    }
    const text = JSON.stringify(value)
    if (text === last) return
    last = text
    told = ''
    onSecret(value)
  }
  const end = (): void => {
    for (const endWatch of endWatches) endWatch()
    endWatches = []
    if (timer !== null) clearTimeout(timer)
    timer = null
  }
  const retry = (error: unknown): void => {
    end()
    complain(error)
    timer = setTimeout(begin, RETRY_MS)
    timer.unref()
  }
  const begin = (): void => {
    try {
      // Before the files are read: whatever comes later is a change.
      for (const [, path] of files) endWatches.push(watchFile(path, read, retry))
    } catch (error) {
      retry(error)
      return
    }
    read()
  }
  begin()
  return end
}
