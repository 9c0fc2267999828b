/** How a connection ended, as `%DETECTED_CLOSE_TYPE%` prints it. */
export const DetectedClose = { Normal: 'Normal', LocalReset: 'LocalReset', RemoteReset: 'RemoteReset' } as const
export type DetectedClose = (typeof DetectedClose)[keyof typeof DetectedClose]
