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

test('without a terminal the demo writes plain lines, ends in a clean ledger and exits 0, and nothing is left', async () => {
  await using tmp = await temporary()
  const env = { ...process.env, ONCE: '1', DEMO_N: String(MAILS), TMPDIR: tmp.dir, FORCE_COLOR: '1' }
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk))
  const [code] = await once(child, 'close')
  assert.equal(code, 0, text)
  assert.match(text, / \d+\.\d s in total\nledger: (\d[\d,]*) sent · \1 once · 0 lost · 0 twice\n$/)
  assert.match(text, /kill -9 of the instance with \d+ of \d+ events on the stream/)
  assert.ok(!text.includes('\x1b'), 'no escape codes')
  assert.deepEqual(await readdir(tmp.dir), [])
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
  assert.equal(await runDemo(tmp.dir, { n: MAILS, stay: false, beforeLedger }, view, signal), false)
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
  await assert.rejects(runDemo(tmp.dir, { n: MAILS, stay: false }, view, stop.signal), /stopped by the test/)
  const [, pid, bridgeUrl = '', natsPort] = /pid (\d+) · bridge (\S+) · nats:.*:(\d+)$/.exec(head) ?? []
  assert.throws(() => process.kill(Number(pid), 0), { code: 'ESRCH' })
  await assert.rejects(fetch(`${bridgeUrl}/healthz`))
  await assert.rejects(once(connect(Number(natsPort), '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
})
