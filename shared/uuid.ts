/**
 * UUIDs without the package `uuid` where Node can make them: its 21 files would be loaded by both threads before an instance answers,
 * a twentieth of a start.
 */
import * as crypto from 'node:crypto'

/** A new one in order of time. Node has it from 24.16 on; before that it is that of the package. */
export const uuidV7: () => string = 'randomUUIDv7' in crypto ? crypto.randomUUIDv7 : (await import('uuid')).v7

/**
 * The same name gives the same id: RFC 9562, 5.5. That of the package makes an object of OpenSSL for each: a twentieth of what
 * storing a mail takes.
 * @param namespace 16 bytes
 */
export function uuidV5(namespace: Uint8Array, name: string): string {
  const hex = crypto.hash('sha1', Buffer.concat([namespace, Buffer.from(name)]), 'hex')
  const variant = ((Number.parseInt(hex.charAt(16), 16) & 0b0011) | 0b1000).toString(16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
