export * from './object.ts'
export * from './store.ts'
