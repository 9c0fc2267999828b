// How many frames wait in the socket: a peer that makes us answer but does not read is cut off (envoy-contract §6).

/** Frames between two checkpoints: the error of the count. */
const STEP = 64

/** Counts by byte positions: a frame is gone when the kernel has taken the bytes up to its end. */
export class OutboundFrames {
  private frames = 0
  private control = 0
  private goneFrames = 0
  private goneControl = 0
  private sinceCheckpoint = 0
  /** [position, frames, control, …], oldest first. */
  private checkpoints: number[] = []

  /** `position`: bytes written to the connection, this frame included. */
  add(control: boolean, position: number): void {
    this.frames++
    if (control) this.control++
    if (++this.sinceCheckpoint < STEP) return
    this.sinceCheckpoint = 0
    this.checkpoints.push(position, this.frames, this.control)
  }

  /** `taken`: bytes that the kernel has taken; `all`: nothing waits. */
  settle(taken: number, all: boolean): void {
    if (all) {
      this.goneFrames = this.frames
      this.goneControl = this.control
      this.sinceCheckpoint = 0
      this.checkpoints.length = 0
      return
    }
    let i = 0
    while (i < this.checkpoints.length && this.checkpoints[i]! <= taken) i += 3
    if (i === 0) return
    this.goneFrames = this.checkpoints[i - 2]!
    this.goneControl = this.checkpoints[i - 1]!
    this.checkpoints.splice(0, i)
  }

  get waiting(): number {
    return this.frames - this.goneFrames
  }

  get waitingControl(): number {
    return this.control - this.goneControl
  }
}
