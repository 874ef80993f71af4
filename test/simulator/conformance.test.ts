import assert from 'node:assert/strict'
import test from 'node:test'
import { createConformance } from './conformance.ts'
import { ask, gmail, graph, listAll, round } from './requests.ts'
import { startSimulator } from './simulator.ts'
import type { Mix } from './types.ts'

const google = { user: 'u1', provider: 'google' } as const
const microsoft = { user: 'u1', provider: 'microsoft' } as const
const WILD: Partial<Mix> = { eventMessage: 0.2, nonAscii: 0.6, hugeTo: 0.02, missingDate: 0.1 }

test('every Gmail answer has the types that Google publishes', async () => {
  const conformance = createConformance()
  await using simulator = await startSimulator({ onAnswer: conformance.onAnswer })
  const who = simulator.addMailbox({ ...google, n: 150, mix: WILD })
  const profile = await gmail<{ historyId: string }>(simulator, who, 'profile')
  const ids = await listAll(simulator, who, 40)
  const formats = ['metadata', 'full', 'raw', 'minimal']
  for (const [at, id] of ids.entries()) await gmail(simulator, who, `messages/${id}?format=${formats[at % 4]}`)
  const [first = '', second = ''] = ids
  simulator.mutate({ type: 'deliver', ...google })
  const post = (path: string, body: object) =>
    gmail(simulator, who, path, { method: 'POST', body: JSON.stringify(body) })
  await post(`messages/${first}/modify`, { addLabelIds: ['STARRED'], removeLabelIds: ['INBOX'] })
  await post(`messages/${first}/trash`, {})
  await post(`messages/${first}/untrash`, {})
  await post('messages', { raw: Buffer.from('Subject: x\r\n\r\nbody').toString('base64url'), labelIds: ['INBOX'] })
  await post('watch', { topicName: 'projects/p/topics/t' })
  await gmail(simulator, who, `messages/${second}`, { method: 'DELETE' })
  await gmail(simulator, who, `history?startHistoryId=${profile.body.historyId}`)
  await gmail(simulator, who, 'labels')
  await gmail(simulator, who, 'labels/INBOX')
  assert.deepEqual(conformance.problems(), [])
  assert.equal(Object.keys(conformance.checked()).length, 11)
})

test('every Graph answer has the types that Microsoft publishes', async () => {
  const conformance = createConformance()
  await using simulator = await startSimulator({ onAnswer: conformance.onAnswer })
  const who = simulator.addMailbox({ ...microsoft, n: 300, mix: WILD })
  const folders = await round(simulator, who, 'mailFolders/delta')
  for (const { id } of folders.items) {
    const { items, deltaLink } = await round(simulator, who, `mailFolders/${id}/messages/delta`)
    const mail = items[0]?.id
    if (mail) {
      await graph(simulator, who, `messages/${mail}`)
      simulator.mutate({ type: 'markRead', ...microsoft, id: mail })
      simulator.mutate({ type: 'trash', ...microsoft, id: mail })
    }
    await round(simulator, who, deltaLink)
    await graph(simulator, who, `mailFolders/${id}`)
    await graph(simulator, who, `mailFolders/${id}/childFolders`)
  }
  await graph(simulator, who, 'mailFolders?includeHiddenFolders=true&$top=3')
  await graph(simulator, who, 'mailFolders/inbox/messages?$top=50')
  await ask(simulator, who, '/v1.0/me')
  assert.deepEqual(conformance.problems(), [])
  assert.equal(Object.keys(conformance.checked()).length, 8)
})

test('the check itself sees a wrong type, an unknown field and an integer that is no uint64', () => {
  const conformance = createConformance()
  const good = { id: '1', historyId: '18446744073709551615' }
  conformance.onAnswer('gmail.messages.get', { status: 200, body: good }, undefined)
  assert.deepEqual(conformance.problems(), [])
  conformance.onAnswer('gmail.messages.get', { status: 200, body: { ...good, id: 1 } }, undefined)
  conformance.onAnswer(
    'gmail.messages.get',
    { status: 200, body: { ...good, historyId: '18446744073709551616' } },
    undefined,
  )
  conformance.onAnswer('graph.messages.list', { status: 200, body: { value: [{ id: 'a', subjekt: '' }] } }, undefined)
  conformance.onAnswer(
    'graph.messages.list',
    { status: 200, body: { value: [{ id: 'a', importance: 'urgent' }] } },
    undefined,
  )
  assert.equal(conformance.problems().length >= 4, true)
})
