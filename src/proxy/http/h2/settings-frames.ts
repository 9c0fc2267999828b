// SETTINGS as they come (RFC 9113 §6.5): what the peer says, and that it knows what we said.

import type { Http2Connection } from './connection.ts'
import {
  ACK,
  DEFAULT_MAX_FRAME_SIZE,
  DEFAULT_TABLE_SIZE,
  DEFAULT_WINDOW,
  ErrorCode,
  MAX_WINDOW,
  Setting,
} from './constants.ts'
import { connectionError, type Http2Error, protocolError } from './error.ts'

export class SettingsFrames {
  /** The first frame of them has come. */
  received = false
  /** Of each stream of ours, at its begin. */
  initialWindow = DEFAULT_WINDOW
  private allowsConnect = false
  /** The peer knows our settings, which never change. */
  private acknowledged = false

  onFrame(codec: Http2Connection, flags: number, payload: Buffer, start: number, end: number): Http2Error | null {
    if ((flags & ACK) === 0) {
      if ((end - start) % 6 !== 0) return connectionError(ErrorCode.FrameSizeError, 'SETTINGS')
      return this.apply(codec, payload, start, end)
    }
    if (start !== end) return connectionError(ErrorCode.FrameSizeError, 'SETTINGS')
    if (this.acknowledged) return protocolError('SETTINGS were acknowledged before')
    if (codec.options.hpackTableSize < DEFAULT_TABLE_SIZE) codec.headerFrames.decoder.expectSizeUpdate()
    this.acknowledged = true
    return null
  }

  /** The settings of one frame, in order; they are acknowledged. */
  private apply(codec: Http2Connection, payload: Buffer, start: number, end: number): Http2Error | null {
    this.received = true
    // A frame holds thousands of entries: the streams are gone through for all of them, not for each.
    let window = -1
    let highestWindow = -1
    for (let at = start; at < end; at += 6) {
      const id = payload.readUInt16BE(at)
      const value = payload.readUInt32BE(at + 2)
      if (id === Setting.InitialWindowSize) {
        window = value
        highestWindow = Math.max(highestWindow, value)
        continue
      }
      const error = this.applyOne(codec, id, value)
      if (error) return error
    }
    const before = this.initialWindow
    if (window >= 0) {
      const error = this.changeWindows(codec, window, highestWindow)
      if (error) return error
    }
    // Before any DATA that the settings allow (§6.5.3).
    codec.writer.settingsAck()
    // Only windows that grew let anybody go on.
    if (this.initialWindow > before) codec.windows.flushBlocked()
    return null
  }

  /** §6.9.2. `highest`: what the frame said in between; no stream's window may have become too large by it either. */
  private changeWindows(codec: Http2Connection, value: number, highest: number): Http2Error | null {
    if (highest > MAX_WINDOW) return windowTooLarge()
    const change = value - this.initialWindow
    const highestChange = highest - this.initialWindow
    this.initialWindow = value
    for (const stream of codec.streams.all()) {
      if (stream.sendWindow + highestChange > MAX_WINDOW) return windowTooLarge()
      stream.sendWindow += change
    }
    return null
  }

  private applyOne(codec: Http2Connection, id: number, value: number): Http2Error | null {
    switch (id) {
      case Setting.HeaderTableSize:
        codec.encoder.setPeerTableSize(value)
        break
      case Setting.EnablePush:
        if (value > 1 || (value === 1 && !codec.mayPeerAllowPush)) return protocolError('SETTINGS_ENABLE_PUSH')
        break
      case Setting.MaxConcurrentStreams:
        codec.onPeerMaxStreams(value)
        break
      case Setting.MaxFrameSize:
        if (value < DEFAULT_MAX_FRAME_SIZE || value > 0xffffff) return protocolError('SETTINGS_MAX_FRAME_SIZE')
        // Larger frames than the write buffer takes at once gain nothing.
        codec.writer.maxFrameSize = DEFAULT_MAX_FRAME_SIZE
        break
      case Setting.EnableConnectProtocol:
        if (value > 1 || (value === 0 && this.allowsConnect)) return protocolError('SETTINGS_ENABLE_CONNECT_PROTOCOL')
        this.allowsConnect = value === 1
        break
    }
    return null
  }
}

function windowTooLarge(): Http2Error {
  return connectionError(ErrorCode.FlowControlError, 'SETTINGS_INITIAL_WINDOW_SIZE')
}
