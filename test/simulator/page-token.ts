/** Owns the opaque page tokens of lists. Refuses to be readable: clients must not look inside. */
import type { Paging } from './types.ts'

export function encodePageToken(at: number, paging: Paging): string {
  return Buffer.from(`${paging[0]}${at}`).toString('base64url')
}

/** null = not a token of this paging mode. */
export function decodePageToken(token: string, paging: Paging): number | null {
  const hit = /^([ko])(\d{1,10})$/.exec(Buffer.from(token, 'base64url').toString())
  return hit && hit[1] === paging[0] ? Number(hit[2]) : null
}
