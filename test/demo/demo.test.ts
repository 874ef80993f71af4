/** The demo with small mailboxes: its exit code, its ledger line, and that it leaves nothing behind. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import { type DemoOptions, runDemo } from './story.ts'
import { type Picture, plainView } from './view.ts'
import { World } from './world.ts'

const MAIN = join(import.meta.dirname, 'main.ts')
const MAILS = 120
async function temporary() {
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-test-'))
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) }
}

/** `make demo ONCE=1` with small mailboxes. */
async function demo(tmpdir: string, more: NodeJS.ProcessEnv) {
  const env = { ...process.env, ONCE: '1', DEMO_N: String(MAILS), TMPDIR: tmpdir, FORCE_COLOR: '1', ...more }
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk))
  const [code] = await once(child, 'close')
  return { code, text }
}
const CLEAN = / \d+\.\d s in total\nledger: (\d[\d,]*) sent · \1 once · 0 lost · 0 twice\n$/

test('without a terminal the demo writes plain lines, ends in a clean ledger and exits 0, and nothing is left', async () => {
  await using tmp = await temporary()
  const { code, text } = await demo(tmp.dir, {})
  assert.equal(code, 0, text)
  assert.match(text, CLEAN)
  assert.match(text, /kill -9 of the instance with \d+ of \d+ events on the stream/)
  assert.ok(!text.includes('\x1b'), 'no escape codes')
  assert.deepEqual(await readdir(tmp.dir), [])
})

test('with three instances one is killed with its disk, another one takes its users over, and the ledger is clean', async () => {
  await using tmp = await temporary()
  const { code, text } = await demo(tmp.dir, { INSTANCES: '3' })
  assert.equal(code, 0, text)
  assert.match(text, CLEAN)
  const owner =
    /kill -9 of (mail-\d), the owner of (ada|ada and grace|grace), with \d+ of \d+ events on the stream; its disk/
  const [, victim = '', people = ''] = owner.exec(text) ?? assert.fail(text)
  const taken = /take-over: (.*) \d+\.\d s after the kill/.exec(text)?.[1] ?? assert.fail(text)
  for (const name of people.split(' and ')) assert.match(taken, new RegExp(`mail-\\d works on ${name}\\b`))
  assert.ok(!taken.includes(victim), text)
  assert.deepEqual(await readdir(tmp.dir), [])
})

test('a number of instances that makes no sense is refused with exit code 64', async () => {
  await using tmp = await temporary()
  for (const INSTANCES of ['0', 'three', '9']) {
    const { code, text } = await demo(tmp.dir, { INSTANCES })
    assert.deepEqual([code, text], [64, 'INSTANCES: a whole number from 1 to 8\n'])
  }
})

test('a mail that is not on the stream and an event that stands there twice are reported', async () => {
  await using tmp = await temporary()
  let text = ''
  const view = plainView((more) => {
    text += more
  })
  const beforeLedger: DemoOptions['beforeLedger'] = async (system, people) => {
    const [ada] = people
    assert.ok(ada !== undefined)
    system.instanceMayDie = true
    await system.instance.end('SIGKILL')
    await new World(system).change(ada, { type: 'deliver', subject: 'x', from: { name: 'x', address: 'x@y.example' } })
    const nc = await system.connection('ops')
    const jsm = await jetstreamManager(nc)
    const event = await jsm.direct.getMessage(EVENT_STREAM, { last_by_subj: eventSubject(ada.userId) })
    assert.ok(event !== null)
    await jetstream(nc).publish(event.subject, event.data)
  }
  const { signal } = new AbortController()
  assert.equal(await runDemo(tmp.dir, { n: MAILS, instances: 1, stay: false, beforeLedger }, view, signal), false)
  assert.match(text, /^ledger: \d+ sent · \d+ once · 1 lost · 1 twice$/m)
})

test('stopped in the middle it ends what it started', async () => {
  await using tmp = await temporary()
  const stop = new AbortController()
  let head = ''
  const view = {
    ...plainView(() => undefined),
    picture(now: Picture) {
      head = now.head
      stop.abort(new Error('stopped by the test'))
    },
  }
  await assert.rejects(
    runDemo(tmp.dir, { n: MAILS, instances: 1, stay: false }, view, stop.signal),
    /stopped by the test/,
  )
  const [, pid, bridgeUrl = '', natsPort] = /pid (\d+) · bridge (\S+) · nats:.*:(\d+)$/.exec(head) ?? []
  assert.throws(() => process.kill(Number(pid), 0), { code: 'ESRCH' })
  await assert.rejects(fetch(`${bridgeUrl}/healthz`))
  await assert.rejects(once(connect(Number(natsPort), '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
})
