/** A socket that is reset while it is being shut down must not keep its process from ending. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'

const RESET = new URL('./reset.ts', import.meta.url).href
/** A bound on a process that would run for ever. */
const DEADLINE_MS = 3_000

/** How a process ends that shuts a socket down and ends it by `how` in the same breath; null = it had to be killed. */
async function endOf(how: string): Promise<number | null> {
  const script = `
    import { connect, createServer } from 'node:net'
    import { reset } from '${RESET}'
    const server = createServer((peer) => peer.on('error', () => undefined).resume()).listen(0, '127.0.0.1', () => {
      const socket = connect(server.address().port, '127.0.0.1', () => {
        socket.end()
        ${how}
        server.close()
      })
      socket.on('error', () => undefined)
    })`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' })
  const deadline = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS)
  const [code] = await once(child, 'exit')
  clearTimeout(deadline)
  return code
}

test('a process whose socket was reset while it was shut down ends', async () => {
  assert.equal(await endOf('reset(socket)'), 0)
})

test('control: reset by Node alone it does not', async () => {
  assert.equal(await endOf('socket.resetAndDestroy()'), null)
})
