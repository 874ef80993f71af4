import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { freePort, freePorts } from './free-port.ts'
import { startNatsServer } from './nats-server.ts'

test('a port that was given out is given to nobody else, though nothing listens on it', async () => {
  const only = { first: 19_000, last: 19_007 }
  const ports = await freePorts(4, only)
  assert.equal(new Set(ports).size, 4)
  await assert.rejects(freePort(only), /no free port in 19000 to 19007/)
  const [port] = ports
  const program = createServer().listen(port, '127.0.0.1')
  await once(program, 'listening')
  await once(program.close(), 'close')
})

test('they lie below those that systems give out by themselves', async () => {
  for (const port of await freePorts(20)) assert.ok(port >= 20_000 && port < 32_768, `port ${port}`)
})

test('a nats-server that is down for a moment finds its ports free', async () => {
  await using server = await startNatsServer({ conf: 'open' })
  const { port, monitorUrl } = server
  for (const own of [port, Number(new URL(monitorUrl).port)]) assert.ok(own >= 20_000 && own < 32_768, `port ${own}`)
  await server.restart()
  assert.deepEqual([server.port, server.monitorUrl], [port, monitorUrl])
})
