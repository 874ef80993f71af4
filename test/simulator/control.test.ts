import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { gmail } from './requests.ts'
import { startSimulator } from './simulator.ts'
import type { Credentials, LogEntry } from './types.ts'

const google = { user: 'u1', provider: 'google' } as const

function control(url: string) {
  const call = async <T>(method: string, path: string, body?: object): Promise<T> => {
    const response = await fetch(`${url}/__sim/${path}`, { method, ...(body && { body: JSON.stringify(body) }) })
    const reply = (await response.json()) as T
    assert.equal(response.status, 200, JSON.stringify(reply))
    return reply
  }
  return {
    get: <T>(path: string) => call<T>('GET', path),
    post: <T>(path: string, body: object) => call<T>('POST', path, body),
  }
}

test('everything that the library offers can be done over HTTP', async () => {
  await using simulator = await startSimulator()
  const sim = control(simulator.url)
  const who = await sim.post<Credentials>('mailboxes', { ...google, n: 0 })
  const { id } = await sim.post<{ id: string }>('mutate', { type: 'deliver', ...google })
  assert.deepEqual(await sim.get('truth?user=u1&provider=google'), { must: [id], mustNot: [] })
  await sim.post('faults', { match: { nth: 1 }, fault: { type: '500' } })
  assert.equal((await gmail(simulator, who, 'profile')).status, 500)
  assert.equal((await gmail(simulator, who, 'profile')).status, 200)
  const log = await sim.get<LogEntry[]>('log')
  assert.deepEqual(
    log.map(({ route, status, fault }) => [route, status, fault]),
    [
      ['gmail.profile', 500, '500'],
      ['gmail.profile', 200, undefined],
    ],
  )
  const ledger = await sim.get<{ mailboxes: Record<string, { total: number }> }>('ledger')
  assert.equal(ledger.mailboxes['google:u1']?.total, 1)
  await sim.post('clock', { advanceMs: 4000_000 })
  assert.equal((await gmail(simulator, who, 'profile')).status, 401)
  assert.equal((await gmail(simulator, await sim.get<Credentials>('credentials?user=u1'), 'profile')).status, 200)
  await sim.post('reset', {})
  assert.deepEqual(await sim.get('log'), [])
  assert.equal((await fetch(`${simulator.url}/__sim/truth?user=u1`)).status, 400)
})

test('an unknown path answers 404 in the shape of its provider and is logged as unexpected', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 0 })
  const reply = await gmail<{ error: { status: string } }>(simulator, who, 'settings/filters')
  assert.deepEqual([reply.status, reply.body.error.status], [404, 'NOT_FOUND'])
  assert.deepEqual(
    simulator.log().map(({ unexpected, url }) => [unexpected, url]),
    [[true, '/gmail/v1/users/me/settings/filters']],
  )
})

test('a log that no longer reaches back so far says so in place of showing less', async () => {
  await using simulator = await startSimulator({ logMost: 5 })
  const who = simulator.addMailbox({ ...google, n: 0 })
  const fromMs = Date.now()
  for (let i = 0; i < 6; i++) await gmail(simulator, who, 'profile')
  assert.equal(simulator.logSince(fromMs).length, 6)
  assert.deepEqual(simulator.logSince(Date.now() + 60_000), [])
  await gmail(simulator, who, 'profile')
  assert.equal(simulator.log().length, 5)
  assert.throws(() => simulator.logSince(fromMs), /only the last 5 requests are in the log/)
})

test('what no client should send gets an answer and breaks nothing', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 1 })
  assert.equal((await gmail(simulator, who, 'messages/%ff')).status, 404)
  assert.equal((await gmail(simulator, who, 'messages', { method: 'POST', body: '{' })).status, 400)
  assert.equal((await gmail(simulator, who, 'profile')).status, 200)
})

test('as a process it prints one line with its address when it is ready and ends on SIGTERM', async () => {
  const main = fileURLToPath(new URL('main.ts', import.meta.url))
  const child = spawn(process.execPath, [main, '--port', '0', '--seed', '3'], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
    const { url, env } = JSON.parse(line) as { url: string; env: Record<string, string> }
    assert.equal(env.MAIL_GRAPH_BASE_URL, `${url}/v1.0`)
    const who = await control(url).post<Credentials>('mailboxes', { ...google, n: 2 })
    assert.equal(who.address, 'u1@gmail.example')
  } finally {
    const exit = once(child, 'exit')
    child.kill('SIGTERM')
    assert.deepEqual((await exit)[0], 0)
  }
})
