/** The event loop between two pieces of work that hold it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { loopTurn } from '../../../services/mail/base/loop-turn.ts'

/** Holds the loop as a transaction does. */
function hold(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

/** How many pieces of work were done before a request that came at the beginning was answered. */
async function doneBeforeAnswer(wait: () => Promise<void>): Promise<number> {
  const pieces = 50
  let done = 0
  const server = createServer((_request, response) => response.end(String(done)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const answer = fetch(`http://127.0.0.1:${address.port}`).then((response) => response.text())
  await Promise.all(
    Array.from({ length: pieces }, async () => {
      await wait()
      hold(2)
      done += 1
    }),
  )
  assert.equal(done, pieces)
  const before = Number(await answer)
  server.close()
  return before
}

test('what waits for I/O is looked at between two turns', async () => {
  assert.ok((await doneBeforeAnswer(loopTurn)) < 40)
})

test('control: without turns everything is done before anybody is answered', async () => {
  assert.equal(await doneBeforeAnswer(() => Promise.resolve()), 50)
})

test('turns come in the order in which they were asked for', async () => {
  const came: number[] = []
  await Promise.all(Array.from({ length: 20 }, (_, i) => loopTurn().then(() => came.push(i))))
  assert.deepEqual(
    came,
    Array.from({ length: 20 }, (_, i) => i),
  )
})
