/**
 * Owns the text of Gmail's batches: the GETs of a request, and the answers to them in free order.
 * Refuses to answer them (dispatch.ts does).
 */
import { STATUS_CODES } from 'node:http'
import type { Answer, Fault, SimRequest } from './types.ts'

/** The most that Gmail takes. */
export const BATCH_MOST = 100
const BOUNDARY = 'batch_7Xp52oGIwpA_AAEAc7ERnGU'

interface BatchPart {
  /** Content-ID without its brackets. */
  id: string
  method: string
  path: string
}

export interface PartAnswer {
  id: string
  answer: Answer
  fault: Fault['type'] | undefined
}

/** null = it is no batch. */
export function readBatchRequest(request: Pick<SimRequest, 'headers' | 'body'>): BatchPart[] | null {
  const boundary = /^multipart\/mixed;\s*boundary="?([^";]+)"?$/i.exec(request.headers['content-type'] ?? '')?.[1]
  if (boundary === undefined || !request.body.endsWith(`\r\n--${boundary}--\r\n`)) return null
  const texts = `\r\n${request.body}`.split(`\r\n--${boundary}`).slice(1, -1)
  const parts = texts.map((text) => {
    const [head = '', inner = ''] = text.split('\r\n\r\n')
    const id = /^Content-ID: <([^<>\s]+)>$/im.exec(head)?.[1]
    const [, method, path] = /^([A-Z]+) (\/gmail\/v1\/\S+)(?: HTTP\/1\.1)?$/m.exec(inner) ?? []
    const isHttp = /^Content-Type: application\/http$/im.test(head)
    return isHttp && id !== undefined && method !== undefined && path !== undefined ? { id, method, path } : null
  })
  return parts.includes(null) ? null : parts.filter((part) => part !== null)
}

/** Faults of the wire reach the one connection that all parts come by. */
export const isOfTheWire = ({ fault }: { fault: Fault | undefined }): boolean =>
  fault !== undefined && ['hang', 'slow', 'delay', 'clockSkew'].includes(fault.type)
/** Nobody reads every part of an answer that meets it. */
export const isLost = (fault: Fault | undefined): boolean =>
  fault !== undefined && ['hang', 'slow', 'reset', 'truncate', 'gzipBomb', 'emptyBody'].includes(fault.type)

/** A part whose own way broke is left out, one that was cut off is there by half. */
function writePart({ id, answer, fault }: PartAnswer): string {
  if (fault === 'reset' || fault === 'gzipBomb') return ''
  const { status, headers = {}, body = '' } = answer
  const isJson = typeof body === 'object'
  const text = isJson ? JSON.stringify(body) : body
  const all = { ...(isJson && { 'content-type': 'application/json; charset=UTF-8' }), ...headers }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return (
    `--${BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: <response-${id}>\r\n\r\n` +
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n` +
    `${fault === 'truncate' ? text.slice(0, text.length / 2) : text}\r\n`
  )
}

export function batchAnswer(parts: readonly PartAnswer[]): Answer {
  const texts = parts.toReversed().map(writePart)
  const headers = { 'content-type': `multipart/mixed; boundary=${BOUNDARY}` }
  return { status: 200, headers, body: `${texts.join('')}--${BOUNDARY}--` }
}
