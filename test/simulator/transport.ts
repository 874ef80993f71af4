/**
 * Owns how an answer leaves the socket, with the faults of the wire: cut, slow, hanging, reset.
 * Refuses to know what is sent.
 */
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { reset } from '../support/reset.ts'
import type { Answer, Fault, Time } from './types.ts'

const DRIP_MS = 50
const GONE: unknown = new DOMException('nobody waits for the answer any more', 'AbortError')
/** The longest that a timer can wait. */
const FOR_EVER_MS = 2 ** 31 - 1

export const realTime: Time = {
  monoMs: () => performance.now(),
  sleep: async (ms, signal) => {
    await delay(ms, undefined, { signal })
  },
}

/** Aborts when the client has gone or the simulator ends: nobody waits for this answer any more. */
export function createGone(response: ServerResponse, closing: AbortSignal): AbortSignal {
  const closed = new AbortController()
  response.once('close', () => closed.abort(GONE))
  return AbortSignal.any([closing, closed.signal])
}

interface Sending {
  /** The simulator's clock, epoch ms. */
  nowMs: number
  fault: Fault | undefined
  time: Time
  gone: AbortSignal
}

async function drip(
  response: ServerResponse,
  bytes: Buffer,
  bytesPerSec: number,
  { time, gone }: Pick<Sending, 'time' | 'gone'>,
): Promise<void> {
  const pauseMs = Math.max(DRIP_MS, 1000 / bytesPerSec)
  const step = Math.floor((bytesPerSec * pauseMs) / 1000)
  for (let at = 0; at < bytes.length && !response.destroyed; at += step) {
    response.write(bytes.subarray(at, at + step))
    await time.sleep(pauseMs, gone)
  }
  response.end()
}

let bomb: Buffer | null = null
/** 48 KiB that unpack to 48 MiB of JSON. */
const gzipBomb = (): Buffer => {
  bomb ??= gzipSync(Buffer.concat([Buffer.from('{"value":"'), Buffer.alloc(48 << 20, 'a'), Buffer.from('"}')]))
  return bomb
}

/** Resolves when the answer was handed to the socket, or the socket is gone. */
export async function send(
  response: ServerResponse,
  answer: Answer,
  { nowMs, fault, time, gone }: Sending,
): Promise<void> {
  const isJson = typeof answer.body === 'object'
  const text = isJson ? JSON.stringify(answer.body) : (answer.body ?? '')
  const bytes = Buffer.from(text as string)
  const date = new Date(nowMs + (fault?.type === 'clockSkew' ? fault.s * 1000 : 0)).toUTCString()
  const headers = { date, ...(isJson && { 'content-type': 'application/json; charset=UTF-8' }), ...answer.headers }
  const half = bytes.subarray(0, Math.floor(bytes.length / 2))
  switch (fault?.type) {
    case 'hang':
      await time.sleep(FOR_EVER_MS, gone)
      return
    case 'delay':
      await time.sleep(fault.ms, gone)
      break
    case 'reset':
      if (fault.when === 'midBody') {
        response.writeHead(answer.status, { ...headers, 'content-length': bytes.length })
        await new Promise<void>((resolve) => response.write(half.length > 0 ? half : ' ', () => resolve()))
      }
      if (response.socket !== null) reset(response.socket)
      return
    case 'truncate':
      if (fault.mode === 'clean') {
        response.writeHead(answer.status, { ...headers, 'content-length': half.length }).end(half)
        return
      }
      response.writeHead(
        answer.status,
        fault.mode === 'chunked' ? headers : { ...headers, 'content-length': bytes.length },
      )
      await new Promise<void>((resolve) => response.write(half.length > 0 ? half : ' ', () => resolve()))
      response.socket?.end()
      return
    case 'gzipBomb':
      response.writeHead(answer.status, { ...headers, 'content-encoding': 'gzip' }).end(gzipBomb())
      return
    case 'slow':
      response.writeHead(answer.status, headers)
      await drip(response, bytes, fault.bytesPerSec, { time, gone })
      return
  }
  response.writeHead(answer.status, {
    ...headers,
    ...(answer.status === 204 ? {} : { 'content-length': bytes.length }),
  })
  response.end(answer.status === 204 ? undefined : bytes)
}
