/**
 * Positions of an account as they stand in `mail_state`: sealed with a key that stands in the account's record only. The
 * bucket is written often, and what is overwritten stays in the files of the server, with names of folders and ids of mail
 * in it. With the record its key is erased, and nobody can read any of that.
 *
 * By node's own cipher, not by jose as tokens are: checkpoints that are written in one turn go to the server as one batch, and
 * a cipher that answers later would take them apart. It takes a third of the time, too.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { LaneState } from '../base/model.ts'

const ALGORITHM = 'aes-256-gcm'
const KEY_BYTES = 32
const IV_BYTES = 12
const TAG_BYTES = 16

/** 32 random bytes, base64url. */
export const newPositionsKey = (): string => randomBytes(KEY_BYTES).toString('base64url')

/** @param account whose they are: what is copied to another account does not open */
export function sealLanes(key: string, account: string, lanes: readonly LaneState[]): string {
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv(ALGORITHM, Buffer.from(key, 'base64url'), iv).setAAD(Buffer.from(account))
  const text = Buffer.concat([cipher.update(JSON.stringify(lanes)), cipher.final()])
  return Buffer.concat([iv, cipher.getAuthTag(), text]).toString('base64url')
}

/** JSON of the lanes; null when they were sealed with another key, or for another account. */
export function openLanes(key: string, account: string, sealed: string): string | null {
  const bytes = Buffer.from(sealed, 'base64url')
  const [iv, tag] = [bytes.subarray(0, IV_BYTES), bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES)]
  try {
    const decipher = createDecipheriv(ALGORITHM, Buffer.from(key, 'base64url'), iv, { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(account)).setAuthTag(tag)
    return decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES), undefined, 'utf8') + decipher.final('utf8')
  } catch {
    return null
  }
}
