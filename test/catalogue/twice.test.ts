/** Catalogue: mail that other systems announced twice. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deleteLane, readLanes } from '../../services/mail/store/lanes.ts'
import { StaleEpochError } from '../../services/mail/store/user-store.ts'
import { Box } from './box.ts'

const PROVIDERS = ['google', 'microsoft'] as const
const LIST = { google: 'gmail.messages.list', microsoft: 'graph.messages.delta' } as const
const DAY_MS = 86_400_000

test('emailengine #104: after a week away old mail is compared, not sent again; what came meanwhile comes', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 30 })
    await box.untilLive()
    const { rows } = box.mail()
    await box.kill()
    box.deliver()
    await box.advance(8 * DAY_MS)
    const id = box.deliver()
    if (provider === 'microsoft')
      box.fault({ type: 'expireDelta', code: 'SyncStateNotFound' }, { route: 'graph.messages.delta' }, 5)
    box.start()
    await box.advance(5_000)
    await box.untilLive()
    box.assertWhole()
    assert.deepEqual(box.mail().rows.slice(0, rows.length), rows)
    assert.equal(box.mail().rows.length, rows.length + 2)
    assert.ok(box.mail().rows.includes(id))
  }
})

for (const provider of PROVIDERS)
  test(`n8n #5510: ${provider}: a mail that stands on a page twice is one event`, async () => {
    await using box = await Box.open(provider, { n: 60, pageSizeGraph: 7 })
    box.fault({ type: 'dupItems' }, { route: LIST[provider] })
    await box.untilLive()
    box.deliver()
    await box.poll()
    assert.ok(box.requests(LIST[provider]).every(({ fault }) => fault === 'dupItems'))
    box.assertWhole()
  })

test('n8n #10470: a page whose items stand in another order each time is the same page', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 60, pageSizeGraph: 7, paging: 'offset' })
    box.fault({ type: 'shuffle' }, { route: LIST[provider] })
    await box.untilLive()
    box.assertWhole()
  }
})

test('alga-psa #1590: of two workers on one mailbox the earlier one writes nothing any more', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 60, latencyMs: () => 50, pageSizeGraph: 7 })
    await box.advance(1_000)
    const earlier = box.watch()
    // It is still at work when the next one begins.
    box.start()
    await box.untilLive()
    // Whoever has nothing to write need not notice.
    box.deliver()
    await box.poll()
    assert.ok(earlier.endedBy instanceof StaleEpochError)
    box.assertStored()
  }
})

test('templates #1588: positions that are lost cost a walk, not an event', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 30 })
    await box.untilLive()
    const { rows } = box.mail()
    await box.kill()
    box.write((tx) => {
      for (const { lane } of readLanes(tx, box.account)) deleteLane(tx, box.account, lane)
    })
    box.start()
    await box.advance(1_000)
    await box.untilLive()
    assert.deepEqual(box.mail().rows, rows)
    box.assertWhole()
  }
})

test('mail-archiver #21: a mail under several labels is one mail', async () => {
  await using box = await Box.open('google', { n: 3 })
  await box.untilLive()
  const id = box.deliver({ labels: ['INBOX', 'IMPORTANT', 'Label_1', 'Label_2'] })
  await box.poll()
  box.change({ type: 'label', id, add: ['STARRED'], remove: ['Label_1'] })
  await box.poll()
  assert.equal(box.mail().rows.filter((row) => row === id).length, 1)
  box.assertWhole()
})

test('microsoft-graph-docs #6785: pages that repeat what the page before had make no event twice', async () => {
  await using box = await Box.open('microsoft', { n: 60, pageSizeGraph: 7 })
  box.fault({ type: 'replay' }, { route: 'graph.messages.delta' })
  await box.untilLive()
  for (let mails = 0; mails < 5; mails++) box.deliver()
  await box.poll()
  await box.poll()
  box.assertWhole()
})

test('nodejs-webhooks-sample #512: a mail that is thrown away and taken back is no second event', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 3 })
    await box.untilLive()
    const id = box.deliver()
    await box.poll()
    box.change({ type: 'trash', id })
    await box.poll()
    box.change(
      provider === 'google'
        ? { type: 'label', id, add: ['INBOX'], remove: ['TRASH'] }
        : { type: 'move', id, to: 'inbox' },
    )
    await box.poll()
    assert.equal(box.mail().rows.filter((row) => row === id).length, 1)
    box.assertWhole()
  }
})

test('Gmail API: a mail that history names twice, also with nothing but its id, is fetched once', async () => {
  await using box = await Box.open('google', { n: 3 })
  await box.untilLive()
  const from = box.requests('gmail.messages.get').length
  box.fault({ type: 'messagesOnly' }, { route: 'gmail.history.list', nth: 1 })
  box.fault({ type: 'dupItems' }, { route: 'gmail.history.list' })
  box.deliver()
  await box.poll()
  box.deliver()
  await box.poll()
  assert.equal(box.requests('gmail.messages.get').length, from + 2)
  box.assertWhole()
})
