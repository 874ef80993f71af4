/** kill -9 at random moments of a backfill, restarted on the same data: what must hold after any number of them. */
import assert from 'node:assert/strict'
import type { NatsConnection } from '#shared/nats.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { assertOrder, dice, eventsStored, requests, SEED, settled } from './support.ts'

/** A page of `drain`. */
const GMAIL_TAKE = 50
const GRAPH_PARALLEL = 3

/** Kills one instance `kills` times while it fetches `n` mails from each of two mailboxes. */
export async function killDuringBackfill(kills: number, n: number): Promise<void> {
  await using box = await sandbox({ simulator: { pageSizeGraph: 10, seed: SEED } })
  const nc = await box.connection('service')
  const ops = await box.connection('ops')
  let instance = await box.spawn('a')
  await box.connect(nc, 'ada', 'google', { n })
  await box.connect(nc, 'grace', 'microsoft', { n })
  const throwOf = dice(SEED)
  const moments: string[] = []
  for (let kill = 0; kill < kills; kill++) {
    moments.push(await randomMoment(box, ops, throwOf, n, kills))
    await instance.kill('SIGKILL')
    instance = await box.spawn('a')
  }
  const about = `killed ${kills} times (${moments.join(', ')})`
  await settled(box, nc, ['ada', 'grace'], about)
  for (const user of ['ada', 'grace']) await assertOrder(box, ops, 'a', user)
  assertLittleFetchedAgain(box, kills, about)
}

/** Waits for a number of requests, or of events, that the dice say. */
async function randomMoment(
  box: Sandbox,
  ops: NatsConnection,
  throwOf: (low: number, high: number) => number,
  n: number,
  kills: number,
): Promise<string> {
  const [byRequests, more] = [throwOf(0, 1) === 1, throwOf(0, Math.floor(n / kills))]
  const seen = async (): Promise<number> => (byRequests ? box.sim.log().length : await eventsStored(ops))
  // Where NATS is slow the backfill may be over before the last kill.
  const most = byRequests ? Number.POSITIVE_INFINITY : eventsToCome(box)
  const goal = Math.min((await seen()) + more, most)
  await until(`${more} more`, async () => (await seen()) >= goal, { everyMs: 1 })
  return `${more} ${byRequests ? 'requests' : 'events'}`
}

const eventsToCome = (box: Sandbox): number =>
  box.sim.truth(box.simUser('ada'), 'google').must.length + box.sim.truth(box.simUser('grace'), 'microsoft').must.length

/** A page that was under way when the instance died is asked for once more, and nothing else. */
function assertLittleFetchedAgain(box: Sandbox, kills: number, about: string): void {
  const gets = requests(box, 'gmail.messages.get').map(({ url }) => url.split('?')[0] ?? '')
  const again = gets.length - new Set(gets).size
  assert.ok(again <= kills * GMAIL_TAKE, `${about}: ${again} mails fetched again`)
  const pages = requests(box, 'graph.messages.delta').filter(({ url }) => !url.includes('deltatoken'))
  const byFolder = Map.groupBy(pages, ({ url }) => url.split('?')[0] ?? '')
  let total = 0
  for (const [folder, walked] of byFolder) {
    const repeated = walked.length - new Set(walked.map(({ url }) => url)).size
    assert.ok(repeated <= kills, `${about}: ${repeated} pages of ${folder} fetched again`)
    total += repeated
  }
  assert.ok(total <= kills * GRAPH_PARALLEL, `${about}: ${total} pages fetched again`)
}
