/** An answer that was read keeps no body: whatever has ended may stay until all of the heap is collected (ADR 0053). */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Answer, createHttp } from '../../../services/mail/base/http.ts'

const NEVER = new AbortController().signal
const MB = 2 ** 20
const ANSWERS = 20

async function served(bytes: number) {
  const server = createServer((_, response) => response.end(Buffer.alloc(bytes, 'x')))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.closeAllConnections()
      server.close(() => resolve())
    })
  return { url: new URL(`http://127.0.0.1:${port}/`), [Symbol.asyncDispose]: close }
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
/** Buffers are counted as free by a thread that comes after a collection, which the next collection waits for. */
const PASSES = 3

/** In buffers, after all garbage was collected. */
async function bufferBytes(): Promise<number> {
  for (let i = 0; i < PASSES; i++) {
    collect()
    await nextTurn()
  }
  return process.memoryUsage().arrayBuffers
}

/** Asks for answers and holds them. @returns bytes in buffers that they keep */
async function keptBy(read: (answer: Answer) => Promise<unknown>): Promise<number> {
  await using peer = await served(MB)
  await using http = createHttp()
  // The client's own: what it sends with, and its parser.
  await read(await http.ask(peer.url, { signal: NEVER }))
  const before = await bufferBytes()
  const answers: Answer[] = []
  for (let i = 0; i < ANSWERS; i++) {
    const answer = await http.ask(peer.url, { signal: NEVER })
    await read(answer)
    answers.push(answer)
  }
  const kept = (await bufferBytes()) - before
  assert.equal(answers.length, ANSWERS)
  return kept
}

test('an answer that was read keeps no body', async () => {
  const kept = await keptBy(async (answer) => assert.equal((await answer.text()).length, MB))
  assert.ok(kept < MB, `${kept} bytes of ${ANSWERS} MB are kept`)
})

test('control: one that was not read keeps it', async () => {
  const kept = await keptBy(async () => undefined)
  assert.ok(kept > (ANSWERS - 1) * MB, `${kept} bytes`)
})

test('a body is read once', async () => {
  await using peer = await served(3)
  await using http = createHttp()
  const answer = await http.ask(peer.url, { signal: NEVER })
  assert.equal(await answer.text(), 'xxx')
  await assert.rejects(answer.text(), /read/)
})
