/** Accepted when: each fault, switched on at a live mailbox, is told within a minute with its cause; a clean day never is. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ProviderName } from '../simulator/types.ts'
import { Box } from './box.ts'
import { FAULT_KINDS, type Told } from './fault-kinds.ts'

const PROVIDERS = ['google', 'microsoft'] as const
const TOLD_MS = 60_000
const TOKEN_LIFE_S = 900
/** A token is renewed five minutes before its end. */
const BEFORE_REFRESH_MS = (TOKEN_LIFE_S - 300) * 1_000

/** A mailbox that has been live for a while; its access token is about to be renewed. */
async function liveBox(provider: ProviderName): Promise<Box> {
  const box = await Box.open(provider, {
    n: 4,
    folders: [],
    tokenLifeS: TOKEN_LIFE_S,
    latencyMs: () => 60,
    intervalMs: 30_000,
  })
  await box.untilLive()
  await box.until('the token is about to be renewed', () => box.net.clock.monoMs() >= BEFORE_REFRESH_MS - 2_000)
  return box
}

async function check(provider: ProviderName, { fault, match, says }: Told): Promise<void> {
  await using box = await liveBox(provider)
  const from = box.seen.length
  box.fault(fault, match?.(provider))
  box.deliver()
  await box.advance(TOLD_MS)
  const told = box.seen.slice(from)
  const hit = box.sim.log().some((entry) => entry.fault === fault.type)
  assert.ok(hit, 'the fault was never met')
  if ('stays' in says) assert.deepEqual(told, [], says.stays)
  else {
    const [state, code] = says
    assert.ok(
      told.some((seen) => seen.state === state && seen.code === code),
      JSON.stringify(told),
    )
    const good = ['live', 'backfilling']
    assert.ok(
      told.every((seen) => good.includes(seen.state) || seen.code !== null),
      'a fault without a cause',
    )
  }
  box.sim.faults.clear()
  if (box.status().state === 'needs_reauth') await box.reconnect()
  await box.untilLive()
  await box.poll()
  box.assertWhole()
}

for (const [type, rows] of Object.entries(FAULT_KINDS))
  for (const provider of PROVIDERS) {
    const told = rows.filter(({ only }) => only === undefined || only === provider)
    if (told.length === 0) continue
    const codes = [...new Set(told.map(({ says }) => ('stays' in says ? 'it stays live' : says[1])))].join(', ')
    test(`status: ${provider} ${type}: within a minute the status says ${codes}`, async () => {
      for (const one of told) await check(provider, one)
    })
  }

for (const provider of PROVIDERS)
  test(`status: ${provider}: in a clean day with mail, moves and renewed tokens the status is live at every moment`, async () => {
    await using box = await Box.open(provider, { n: 20, folders: [], intervalMs: 240_000, latencyMs: () => 120 })
    await box.untilLive()
    const from = box.seen.length
    for (let hour = 0; hour < 24; hour++) {
      const id = box.deliver()
      const other = box.deliver(provider === 'google' ? { labels: ['SPAM'] } : { folder: 'junkemail' })
      await box.advance(1_800_000)
      box.change({ type: 'markRead', id })
      box.change({ type: 'move', id, to: provider === 'google' ? 'Receipts' : 'archive' })
      box.change({ type: 'unspam', id: other })
      await box.advance(1_800_000)
      if (hour % 3 === 0) box.change({ type: 'delete', id })
    }
    await box.poll()
    assert.deepEqual(box.seen.slice(from), [])
    assert.ok(box.requests(`${provider}.token`).length >= 24)
    box.assertWhole()
  })
