/**
 * Owns how an answer leaves the socket, with the faults of the wire: cut, slow, hanging, reset.
 * Refuses to know what is sent.
 */
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { reset } from '../support/reset.ts'
import type { Answer, Fault } from './types.ts'

const DRIP_MS = 50

async function drip(response: ServerResponse, bytes: Buffer, bytesPerSec: number, signal: AbortSignal): Promise<void> {
  const step = Math.max(1, Math.floor((bytesPerSec * DRIP_MS) / 1000))
  for (let at = 0; at < bytes.length && !response.destroyed; at += step) {
    response.write(bytes.subarray(at, at + step))
    await delay(DRIP_MS, undefined, { signal })
  }
  response.end()
}

/** Resolves when the answer was handed to the socket, or the socket is gone. */
export async function send(
  response: ServerResponse,
  answer: Answer,
  nowMs: number,
  fault: Fault | undefined,
  signal: AbortSignal,
): Promise<void> {
  const isJson = typeof answer.body === 'object'
  const text = isJson ? JSON.stringify(answer.body) : (answer.body ?? '')
  const bytes = Buffer.from(text as string)
  const date = new Date(nowMs + (fault?.type === 'clockSkew' ? fault.s * 1000 : 0)).toUTCString()
  const headers = { date, ...(isJson && { 'content-type': 'application/json; charset=UTF-8' }), ...answer.headers }
  const half = bytes.subarray(0, Math.floor(bytes.length / 2))
  switch (fault?.type) {
    case 'hang':
      return
    case 'delay':
      await delay(fault.ms, undefined, { signal })
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
    case 'slow':
      response.writeHead(answer.status, headers)
      await drip(response, bytes, fault.bytesPerSec, signal)
      return
  }
  response.writeHead(answer.status, {
    ...headers,
    ...(answer.status === 204 ? {} : { 'content-length': bytes.length }),
  })
  response.end(answer.status === 204 ? undefined : bytes)
}
