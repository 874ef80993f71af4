import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { startProxy, type TcpProxy } from './proxy.ts'
import { until } from './until.ts'

/** A client that keeps all that it received as text. */
type Client = { socket: Socket; received: () => string; closed: () => boolean }

/** A server that answers `<text>!` to each line of text, behind a proxy. */
async function shouter(
  t: TestContext,
): Promise<{ proxy: TcpProxy; dial: () => Promise<Client>; answered: () => number }> {
  let answers = 0
  const server: Server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk) => {
      answers++
      socket.write(`${chunk}!`)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  const proxy = await startProxy(address.port)
  const clients: Socket[] = []
  t.after(async () => {
    for (const socket of clients) socket.destroy()
    await proxy[Symbol.asyncDispose]()
    server.close()
    await once(server, 'close')
  })
  const dial = async (): Promise<Client> => {
    const socket = connect(proxy.port, '127.0.0.1')
    clients.push(socket)
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('error', () => socket.destroy())
    await once(socket, 'connect')
    return { socket, received: () => text, closed: () => socket.destroyed }
  }
  return { proxy, dial, answered: () => answers }
}

test('the proxy passes bytes both ways', async (t) => {
  const { proxy, dial } = await shouter(t)
  const client = await dial()
  client.socket.write('hello')
  await until('the answer is there', () => client.received() === 'hello!')
  assert.equal(proxy.connections, 1)
})

test('cut resets open and new connections until heal', async (t) => {
  const { proxy, dial } = await shouter(t)
  const open = await dial()
  await until('the connection is through', () => proxy.connections === 1)
  proxy.cut()
  await until('the open connection is gone', () => open.closed())
  const refused = connect(proxy.port, '127.0.0.1')
  refused.on('error', () => refused.destroy())
  await until('the new connection is gone', () => refused.destroyed)
  proxy.heal()
  const healed = await dial()
  healed.socket.write('again')
  await until('the answer is there', () => healed.received() === 'again!')
})

test('dropNext swallows the one matching chunk and leaves the connection alive', async (t) => {
  const { proxy, dial } = await shouter(t)
  const client = await dial()
  const dropped = proxy.dropNext('toClient', (chunk) => chunk.includes('ack'))
  client.socket.write('one')
  await until('what does not match passes', () => client.received() === 'one!')
  client.socket.write('ack')
  assert.equal(String(await dropped), 'ack!')
  client.socket.write('ack')
  await until('the second match passes', () => client.received() === 'one!ack!')
})

test('hold keeps bytes back and release delivers them in order', async (t) => {
  const { proxy, dial, answered } = await shouter(t)
  const client = await dial()
  proxy.hold('toClient')
  client.socket.write('a')
  await until('the server has answered', () => answered() === 1)
  client.socket.write('b')
  await until('the server has answered again', () => answered() === 2)
  assert.equal(client.received(), '')
  proxy.release()
  await until('both answers are there', () => client.received().replaceAll('!', '') === 'ab')
})

test('holdFrom lets everything pass until the chunk that matches', async (t) => {
  const { proxy, dial, answered } = await shouter(t)
  const client = await dial()
  const held = proxy.holdFrom('toServer', (chunk) => chunk.includes('now'))
  client.socket.write('one')
  await until('what does not match passes', () => client.received() === 'one!')
  client.socket.write('now')
  await held
  assert.equal(answered(), 1)
  proxy.release()
  await until('it has arrived', () => client.received() === 'one!now!')
})

test('what a client sent before it went away arrives when it is released', async (t) => {
  const { proxy, dial, answered } = await shouter(t)
  const client = await dial()
  await until('the connection is through', () => proxy.connections === 1)
  proxy.hold('toServer')
  client.socket.write('late')
  client.socket.end()
  await until('the client is gone', () => client.closed())
  assert.equal(answered(), 0)
  proxy.release()
  await until('the server has it', () => answered() === 1)
  await until('the connection has ended', () => proxy.connections === 0)
})

test('mute swallows one direction silently, and heal resets the connection that lost bytes', async (t) => {
  const { proxy, dial } = await shouter(t)
  const muted = await dial()
  proxy.mute('toClient')
  muted.socket.write('hello')
  await until('the answer is swallowed', () => proxy.swallowedBytes === 'hello!'.length)
  assert.deepEqual([muted.received(), muted.closed()], ['', false])
  const untouched = await dial()
  await until('both connections are through', () => proxy.connections === 2)
  proxy.heal()
  await until('the connection that lost bytes is reset', () => muted.closed())
  untouched.socket.write('still here')
  await until('the other connection lives', () => untouched.received() === 'still here!')
})
