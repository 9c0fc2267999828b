// Filter state that outlives a stream which is served again after an internal redirect.

/** How many redirects were followed. */
export const REDIRECT_COUNT_KEY = 'num_internal_redirects'
/** Names of the routes that they led to, by the route that sent them. */
export const REDIRECT_ROUTES_KEY = 'envoy.internal_redirect.previous_routes'

export const REDIRECT_STATE_KEYS: readonly string[] = [REDIRECT_COUNT_KEY, REDIRECT_ROUTES_KEY]
