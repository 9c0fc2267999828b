/**
 * Host and path of an HttpUri as Envoy takes them apart: what stands before `://` is passed over, and may be missing;
 * without a slash there is no path but `/`.
 */
export function hostAndPath(uri: string): { readonly host: string; readonly path: string } {
  const scheme = uri.indexOf('://')
  const start = scheme < 0 ? 0 : scheme + 3
  const slash = uri.indexOf('/', start)
  return slash < 0 ? { host: uri.slice(start), path: '/' } : { host: uri.slice(start, slash), path: uri.slice(slash) }
}
