/** What a message must be, whatever a provider or a sender has written, to be stored and published. */
import assert from 'node:assert/strict'
import type { MessageMeta } from '../../services/mail/base/model.ts'

const LAST_SECOND = 253_402_300_799

export function assertStorable(meta: MessageMeta): void {
  const { msgDate } = meta
  assert.ok(msgDate === null || (Number.isInteger(msgDate) && msgDate >= 0 && msgDate <= LAST_SECOND), String(msgDate))
  for (const text of textsOf(meta)) assert.ok(typeof text === 'string' && text.isWellFormed(), JSON.stringify(text))
  assert.doesNotMatch(meta.subject, /[\r\n]/)
  assert.equal(Object.getPrototypeOf(meta.headers), Object.prototype)
  assert.ok(!('polluted' in meta.headers))
}

export const textsOf = (meta: MessageMeta): string[] => [
  ...[meta.id, meta.subject, meta.sender, meta.snippet, ...meta.to, ...meta.cc, ...meta.bcc, ...meta.labels],
  ...Object.entries(meta.headers).flat(),
]
