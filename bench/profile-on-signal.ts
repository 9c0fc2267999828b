// Preloaded into a measured process: SIGUSR2 starts a CPU profile, the next one writes it to $BENCH_PROFILE-<n>.cpuprofile.
import { writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'

const session = new Session()
session.connect()
let count = 0
let running = false
process.on('SIGUSR2', () => {
  if (!running) {
    session.post('Profiler.enable')
    session.post('Profiler.setSamplingInterval', { interval: 200 })
    session.post('Profiler.start')
  } else {
    session.post('Profiler.stop', (error, result) => {
      if (!error) writeFileSync(`${process.env.BENCH_PROFILE}-${count++}.cpuprofile`, JSON.stringify(result.profile))
    })
  }
  running = !running
})
