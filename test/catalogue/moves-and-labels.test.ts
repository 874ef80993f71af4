/** Catalogue: moves, labels and drafts that other systems took for mail that went or came. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Box } from './box.ts'

const PROVIDERS = ['google', 'microsoft'] as const

/** How often the mail is stored. */
const times = (box: Box, id: string): number => box.mail().rows.filter((row) => row === id).length

for (const provider of PROVIDERS)
  test(`twenty #25749: ${provider}: a folder move is one mail, not a delete and a new one`, async () => {
    await using box = await Box.open(provider, { n: 10 })
    await box.untilLive()
    const id = box.deliver()
    await box.poll()
    const { rows } = box.mail()
    box.change({ type: 'move', id, to: provider === 'google' ? 'Receipts' : 'archive' })
    await box.poll()
    await box.poll()
    assert.deepEqual(box.mail().rows, rows)
    box.assertWhole()
  })

test('twenty #25751: in whatever order a folder loses a mail and another one gets it, the mail is there once', async () => {
  for (const [from, to] of [
    ['inbox', 'archive'],
    ['archive', 'inbox'],
    ['Projects', 'sentitems'],
  ] as const) {
    await using box = await Box.open('microsoft', { n: 60, pageSizeGraph: 5, latencyMs: () => 40 })
    const known = box.deliver({ folder: from })
    // It moves while neither, one or both of the folders have been walked.
    const unknown = Array.from({ length: 4 }, () => box.deliver({ folder: from }))
    for (const id of unknown) {
      await box.advance(100)
      box.change({ type: 'move', id, to })
    }
    await box.untilLive()
    box.change({ type: 'move', id: known, to })
    await box.poll()
    await box.poll()
    for (const id of [known, ...unknown]) assert.equal(times(box, id), 1)
    box.assertWhole()
  }
})

test('OpenArchiver #428: ids stay the same however a mail is listed, by pages, changes or alone', async () => {
  await using box = await Box.open('microsoft', { n: 40, pageSizeGraph: 4 })
  await box.untilLive()
  const ids = [box.deliver(), box.deliver(), box.deliver()]
  await box.poll()
  for (const id of ids) box.change({ type: 'move', id, to: 'Projects' })
  box.fault({ type: 'partialItems' }, { route: 'graph.messages.delta' })
  const alone = box.deliver()
  await box.poll()
  box.sim.faults.clear()
  for (const id of [...ids, alone]) box.change({ type: 'move', id, to: 'archive' })
  await box.poll()
  for (const id of [...ids, alone]) assert.equal(times(box, id), 1)
  assert.ok(box.requests('graph.messages.get').length > 0)
  box.assertWhole()
})

test('microsoft-graph-docs #3611: a mail that moves twice between two polls is one mail', async () => {
  await using box = await Box.open('microsoft', { n: 10 })
  await box.untilLive()
  const id = box.deliver()
  box.change({ type: 'move', id, to: 'Projects' })
  box.change({ type: 'move', id, to: 'archive' })
  await box.poll()
  box.change({ type: 'move', id, to: 'inbox' })
  box.change({ type: 'move', id, to: 'archive' })
  await box.poll()
  assert.equal(times(box, id), 1)
  box.assertWhole()
})

test('emailengine #86: a draft of Outlook is no event, and one when it is sent', async () => {
  await using box = await Box.open('microsoft', { n: 10 })
  await box.untilLive()
  const id = box.change({ type: 'draftSave' })
  await box.poll()
  box.change({ type: 'draftSave', id, subject: 'changed' })
  await box.poll()
  assert.equal(times(box, id), 0)
  box.change({ type: 'send', id })
  await box.poll()
  assert.equal(times(box, id), 1)
  box.assertWhole()
})

test('emailengine #87: each save of a Gmail draft is another message, and none of them an event but the sent one', async () => {
  await using box = await Box.open('google', { n: 10 })
  await box.untilLive()
  const before = box.mail().rows
  let id = box.change({ type: 'draftSave' })
  for (let saves = 0; saves < 3; saves++) {
    id = box.change({ type: 'draftSave', id })
    if (saves === 1) await box.poll()
  }
  id = box.change({ type: 'send', id })
  await box.poll()
  assert.deepEqual(box.mail().rows, [...before, id])
  box.assertWhole()
})

test('Gmail API: a label that is added and removed again, also in one record, is no event', async () => {
  await using box = await Box.open('google', { n: 10 })
  await box.untilLive()
  const { rows } = box.mail()
  const gets = box.requests('gmail.messages.get').length
  box.fault({ type: 'oneRecord' }, { route: 'gmail.history.list' })
  const id = rows[0] ?? ''
  box.change({ type: 'label', id, add: ['STARRED'] })
  box.change({ type: 'label', id, remove: ['STARRED'] })
  box.change({ type: 'trash', id })
  box.change({ type: 'label', id, add: ['INBOX'], remove: ['TRASH'] })
  await box.poll()
  assert.deepEqual(box.mail().rows, rows)
  assert.equal(box.requests('gmail.messages.get').length, gets)
  box.assertWhole()
})

test('corsair #450: every kind of change that one history record holds counts', async () => {
  await using box = await Box.open('google', { n: 10 })
  const spam = box.deliver({ labels: ['SPAM'] })
  const gone = box.deliver()
  await box.untilLive()
  box.fault({ type: 'oneRecord' }, { route: 'gmail.history.list' })
  const ids = [box.deliver(), box.deliver()]
  box.change({ type: 'unspam', id: spam })
  box.change({ type: 'delete', id: gone })
  await box.poll()
  for (const id of [...ids, spam]) assert.equal(times(box, id), 1)
  box.assertWhole()
})

test('mail APIs: mail that comes out of spam is one event, when it comes out', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 10 })
    await box.untilLive()
    const id = box.deliver(provider === 'google' ? { labels: ['SPAM'] } : { folder: 'junkemail' })
    await box.poll()
    assert.equal(times(box, id), 0)
    box.change({ type: 'unspam', id })
    await box.poll()
    assert.equal(times(box, id), 1)
    box.assertWhole()
  }
})

test('Graph API: a folder that is thrown away takes no event back, and its mail is none once it lies in the bin', async () => {
  await using box = await Box.open('microsoft', { n: 10 })
  await box.untilLive()
  const folder = box.change({ type: 'createFolder', name: 'Trips' })
  const kept = box.deliver({ folder: 'Trips' })
  await box.poll()
  await box.poll()
  assert.equal(times(box, kept), 1)
  box.change({ type: 'deleteFolder', folder })
  await box.poll()
  const late = box.deliver({ folder })
  await box.poll()
  assert.deepEqual([times(box, kept), times(box, late)], [1, 0])
  assert.equal(box.status().state, 'live')
})
