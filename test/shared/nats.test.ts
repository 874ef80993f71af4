/** The version check against a server that is away: it knows nothing then, and must not judge. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ExitError } from '#shared/lifecycle.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, refuseOldServer } from '#shared/nats.ts'
import { startNatsServer } from '../support/nats-server.ts'
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
