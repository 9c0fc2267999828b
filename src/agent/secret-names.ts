// Names under which proxies ask for the workload's own secrets.

/** The workload's key and certificate. */
export const DEFAULT_SECRET = 'default'
/** What peers are verified by. */
export const ROOT_SECRET = 'ROOTCA'
