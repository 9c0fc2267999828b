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
    const before = this.initialWindow
    for (let at = start; at < end; at += 6) {
      const error = this.applyOne(codec, payload.readUInt16BE(at), payload.readUInt32BE(at + 2))
      if (error) return error
    }
    codec.writer.settingsAck()
    // Only windows that grew let anybody go on.
    if (this.initialWindow > before) codec.windows.flushBlocked()
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
      case Setting.InitialWindowSize: {
        if (value > MAX_WINDOW) return connectionError(ErrorCode.FlowControlError, 'SETTINGS_INITIAL_WINDOW_SIZE')
        const change = value - this.initialWindow
        this.initialWindow = value
        for (const stream of codec.streams.all()) {
          stream.sendWindow += change
          if (stream.sendWindow > MAX_WINDOW)
            return connectionError(ErrorCode.FlowControlError, 'SETTINGS_INITIAL_WINDOW_SIZE')
        }
        break
      }
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
