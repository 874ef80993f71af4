/**
 * Secrets never travel: a whole system with canaries for tokens, keys, passwords and JWTs is worked hard and badly, and
 * everything that leaves its programs is searched for them: outputs, messages, answers, files.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, headers } from '#shared/nats.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { spellings } from './canaries.ts'
import { Sweep } from './sweep.ts'
import {
  connectAll,
  disconnects,
  endedGrants,
  endpoints,
  erasures,
  failingProviders,
  inspections,
  malformedRequests,
  operators,
  refusedConnects,
  refusedStarts,
} from './sweep-stories.ts'
import { openSweepWorld } from './sweep-world.ts'

test('no token, JWT, key, password or client secret gets into an output, a message, an answer or a file', async (t) => {
  await using stack = new AsyncDisposableStack()
  const world = await openSweepWorld(stack)
  const instance = stack.use(await world.startInstance('instance'))
  const bridge = stack.use(await world.startBridge())
  await connectAll(world)
  await refusedConnects(world)
  await malformedRequests(world)
  await failingProviders(world)
  await endedGrants(world)
  await endpoints(world)
  await inspections(world)
  await operators(world)
  await disconnects(world)
  await erasures(world)
  await instance.end('SIGKILL')
  world.sweep.look()
  const next = stack.use(await world.startInstance('instance after SIGKILL', world.keysByCommand()))
  await world.box.allLive(world.service, ['mia'])
  assert.deepEqual([await next.end('SIGTERM'), await bridge.end('SIGTERM')], [0, 0])
  await refusedStarts(world)
  world.sweep.look()
  world.sweep.tell(
    'addresses at the providers',
    world.box.sim
      .log()
      .map(({ url }) => url)
      .join('\n'),
  )
  for (const place of [
    /^file .*\.blk in nats$/,
    /^file events\.db in data$/,
    /^NATS data of mail\.as\./,
    /^HTTP \/mail\//,
  ])
    assert.ok(world.sweep.bytesOf(place) > 0, `${place} was searched`)
  assert.deepEqual(world.sweep.findings(), [])
  t.diagnostic(`0 secrets in ${Math.round(world.sweep.bytes / 1e5) / 10} MB`)
})

const SECRET = '1//secret-~>?>?x'

test('control: a canary in any place and any spelling is found, and where it has to travel it is not', async () => {
  await using stack = new AsyncDisposableStack()
  const sweep = new Sweep()
  sweep.hide('token', SECRET)
  const nats = stack.use(await startNatsServer({ conf: 'open' }))
  const log = createLog('test', 'silent')
  const options = { url: nats.url, name: 'test', inboxPrefix: '_INBOX' }
  const nc = await connectNats(options, log, AbortSignal.timeout(20_000))
  stack.defer(() => drainNats(nc, log))
  await sweep.tap(nc)
  const dir = mkdtempSync(join(tmpdir(), 'mail-sync-sweep-'))
  stack.defer(() => rmSync(dir, { recursive: true }))
  sweep.folder('data', dir)

  const texts = spellings(SECRET)
  const all = Buffer.from(texts.map(([, text]) => text).join('\n'), 'latin1')
  nc.publish('a', all)
  const hdrs = headers()
  hdrs.set('X', SECRET)
  nc.publish('b', '', { headers: hdrs })
  nc.publish(`c.${Buffer.from(SECRET).toString('hex')}`)
  for (const subject of ['mail.connect', 'mail.status', 'mail.as.ada.connect', 'mail.as.ada.why'])
    nc.publish(subject, SECRET, { headers: hdrs })
  await nc.flush()
  writeFileSync(join(dir, 'f'), all)
  writeFileSync(join(dir, Buffer.from(SECRET).toString('base64url')), '')
  sweep.look()
  const write = `for (const out of [process.stdout, process.stderr]) out.write(Buffer.from('${all.toString('hex')}', 'hex'))`
  await sweep.spawn('p', '-e', {}, [write]).exited
  const server = createServer((_request, response) => response.setHeader('x', SECRET).end(all)).listen(0, '127.0.0.1')
  stack.defer(() => void server.close())
  await once(server, 'listening')
  const address = server.address()
  await sweep.fetch(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/h`)

  const everySpelling = [...new Set(texts.map(([spelling]) => spelling))]
  assert.deepEqual(everySpelling.toSorted(), ['UTF-16', 'base64', 'base64url', 'hex', 'percent', 'plain'])
  const places = ['NATS data of a', 'file f in data', 'stdout of p', 'stderr of p', 'HTTP /h']
  assert.deepEqual(
    sweep
      .findings()
      .filter((finding) => !finding.startsWith('NATS subject of _INBOX'))
      .toSorted(),
    [
      ...places.flatMap((place) => everySpelling.map((spelling) => `${place}: token, ${spelling}`)),
      'NATS headers of b: token, plain',
      `NATS subject of c.${Buffer.from(SECRET).toString('hex')}: token, hex`,
      ...['mail.connect', 'mail.status', 'mail.as.ada.connect', 'mail.as.ada.why'].map(
        (subject) => `NATS headers of ${subject}: token, plain`,
      ),
      'NATS data of mail.as.ada.why: token, plain',
      'name of a file in data: token, base64url',
    ].toSorted(),
  )
})
