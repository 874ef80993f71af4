/** The form of a credentials file; and the version check against a server that is away: it must not judge then. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { nkeys } from '@nats-io/nats-core'
import { pino } from 'pino'
import { ExitError } from '#shared/lifecycle.ts'
import { createLog, describeError } from '#shared/log.ts'
import { connectNats, drainNats, followStatus, refuseOldServer } from '#shared/nats.ts'
import { readCreds } from '#shared/nats-login.ts'
import { inboxPrefix } from '#shared/subjects.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { startProxy } from '../support/proxy.ts'
import { until } from '../support/until.ts'

test('while the server is away its version is unknown: the connection stays open and nothing is fatal', async () => {
  await using nats = await startNatsServer({ conf: 'open' })
  const options = { url: nats.url, name: 'test', inboxPrefix: '_INBOX' }
  const nc = await connectNats(options, createLog('test', 'silent'), AbortSignal.timeout(10_000))
  try {
    await refuseOldServer(nc, nats.url)
    await nats.stop('SIGKILL')
    await until('the client has noticed', () => nc.info === undefined)
    await assert.rejects(refuseOldServer(nc, nats.url), (error) => !(error instanceof ExitError))
    assert.equal(nc.isClosed(), false)
  } finally {
    await nc.close()
  }
})

test('what NATS forbids is named in the log', async () => {
  await using nats = await startNatsServer()
  const lines: string[] = []
  const log = pino({ serializers: { err: describeError } }, { write: (line) => lines.push(line) })
  const user = { user: 'bridge', password: nats.passwords.bridge, inboxPrefix: inboxPrefix('bridge') }
  const nc = await connectNats({ url: nats.url, name: 'test', ...user }, log, AbortSignal.timeout(10_000))
  const following = followStatus(nc, log, { connected: () => undefined, disconnected: () => undefined })
  nc.publish('mail.as.victim.connect', 'x')
  await until('it is told', () => lines.some((line) => line.includes('"subject":"mail.as.victim.connect"')))
  await drainNats(nc, log)
  await following
})

const block = (name: string, text: string): string => `-----BEGIN ${name}-----\n${text}\n------END ${name}------\n\n`
/** What `nsc` writes, for a user that no server knows. */
const jwt = block('NATS USER JWT', 'eyJ0.eyJz.c2ln')
const seedBlock = (seed: string): string => block('USER NKEY SEED', seed)

test('a credentials file is given out as it is; one that the client could not use is refused without its text', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'mail-sync-creds-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'user.creds')
  const seed = new TextDecoder().decode(nkeys.createUser().getSeed())
  assert.equal(readCreds(undefined), undefined)
  writeFileSync(file, jwt + seedBlock(seed))
  assert.equal(String(readCreds(file)), jwt + seedBlock(seed))
  const refused = [
    ['nothing', ''],
    ['garbage', 'canary'],
    ['no seed', jwt],
    ['a seed with a wrong letter', jwt + seedBlock(`${seed.slice(0, -2)}${seed.endsWith('AA') ? 'BB' : 'AA'}`)],
    ['no JWT', block('NATS USER JWT', 'canary') + seedBlock(seed)],
    ['the blocks the wrong way round', seedBlock(seed) + jwt],
  ] as const
  for (const [what, text] of refused) {
    writeFileSync(file, text)
    const message = `NATS_CREDS: ${file} is no credentials file: it must hold the JWT of a NATS user and its seed; have it made anew`
    assert.throws(() => readCreds(file), { name: 'ExitError', exitCode: 78, message }, what)
  }
  const unreadable = {
    name: 'ExitError',
    exitCode: 78,
    message: /^NATS_CREDS: \S+ cannot be read \((ENOENT|EISDIR)\); name/,
  }
  for (const path of [dir, join(dir, 'nope')]) assert.throws(() => readCreds(path), unreadable)
})

test('a server that had no time to hear who asks has refused nobody', async () => {
  await using server = await startNatsServer()
  await using proxy = await startProxy(server.port)
  const told: string[] = []
  const logger = pino({}, { write: (line: string) => told.push(line) })
  proxy.hold('toServer')
  const login = { user: 'mailsync', password: server.passwords.mailsync, inboxPrefix: inboxPrefix('mailsync') }
  const options = { url: `nats://127.0.0.1:${proxy.port}`, ...login, name: 'slow' }
  const connecting = connectNats(options, logger, AbortSignal.timeout(20_000))
  connecting.catch(() => undefined)
  await until('it waits', () => told.some((line) => line.includes('Authentication Timeout')))
  proxy.release()
  const nc = await connecting
  await drainNats(nc, logger)
})
