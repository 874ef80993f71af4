/** An instance that cannot be sure of its term asks no provider anything, and goes on once it is sure again. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Clock, systemClock } from '../../../services/mail/base/time.ts'
import { startProxy, type TcpProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { type Node, type NodeOptions, type OwnerBox, ownerBox } from './support.ts'

const POLLS = 3
/** The term does not run out while nothing is acknowledged. */
const LONG_MS = 16_000

/** A wall clock that a test sets. */
class SetClock implements Clock {
  aheadMs = 0
  readonly monoMs = systemClock.monoMs
  readonly sleep = systemClock.sleep
  wallMs(): number {
    return systemClock.wallMs() + this.aheadMs
  }
}

/** An owner behind a proxy that polls its mailbox. */
async function owner(box: OwnerBox, proxy: TcpProxy, options: NodeOptions): Promise<Node> {
  const a = await box.node('a', { port: proxy.port, ...options })
  a.run()
  await box.put(a, 'user0')
  await until('a owns the user', () => a.supervisor.owns('user0'))
  await polls(a)
  return a
}
async function polls(node: Node): Promise<void> {
  const before = node.provider.asked.length
  await until(`${node.name} polls`, () => node.provider.asked.length >= before + POLLS)
}
/** The next owner has polled three times: as long as that the first one has asked nothing. */
async function staysSilent(a: Node, next: Node): Promise<void> {
  const before = a.provider.asked.length
  await polls(next)
  assert.equal(a.provider.asked.length, before)
}
/** The protection off: whatever happens, the node is sure of its term. */
const neverUnsure = (node: Node): unknown => Object.defineProperty(node.supervisor.session, 'valid', { value: true })

// Each has a server of its own, and most of their time is waiting.
describe('an instance that is not sure of its term', { concurrency: 3 }, () => {
  test('asks no provider once its term has run out unacknowledged, and goes on when it is sure again', async () => {
    await using box = await ownerBox()
    await using proxy = await startProxy(box.server.port)
    const b = await box.node('b')
    const a = await owner(box, proxy, {})
    proxy.mute('toClient')
    await until('the term of a runs out', () => !a.supervisor.session.valid)
    b.run()
    await until('b owns the user', () => b.supervisor.owns('user0'))
    await staysSilent(a, b)
    await b.end()
    proxy.heal()
    await until('a owns the user again', () => a.supervisor.owns('user0'))
    await polls(a)
  })

  test('control: one that trusts its term for ever asks beside the next owner', async () => {
    await using box = await ownerBox()
    await using proxy = await startProxy(box.server.port)
    const b = await box.node('b')
    const a = await owner(box, proxy, {})
    neverUnsure(a)
    proxy.mute('toClient')
    b.run()
    await until('b owns the user', () => b.supervisor.owns('user0'))
    await polls(a)
    proxy.heal()
  })

  test('asks no provider after its wall clock has jumped, until the next heartbeat is acknowledged', async () => {
    await using box = await ownerBox()
    await using proxy = await startProxy(box.server.port)
    const clock = new SetClock()
    const other = await box.node('b')
    const a = await owner(box, proxy, { clock, silenceMs: LONG_MS })
    proxy.hold('toClient')
    clock.aheadMs = 900
    assert.equal(a.supervisor.session.valid, true, 'control: less than a second is no jump, and it goes on')
    await polls(a)
    for (const aheadMs of [1_100, -1_100, 86_400_000]) {
      clock.aheadMs = aheadMs
      assert.equal(a.supervisor.session.valid, false, `${aheadMs} ms`)
    }
    other.run()
    await box.put(other, 'user1')
    await until('the other one owns a user', () => other.supervisor.owns('user1'))
    await staysSilent(a, other)
    proxy.release()
    await until('a is sure again', () => a.supervisor.session.valid)
  })
})
