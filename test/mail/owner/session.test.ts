/** The own session and the judgement of others', on a real bucket, through a proxy where answers get lost. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Clock, systemClock } from '../../../services/mail/base/time.ts'
import { RevisionConflict } from '../../../services/mail/kv/account-record.ts'
import { startProxy, type TcpProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { kvBox } from '../kv/support.ts'
import { aside, member, record, TIMES } from './member.ts'

// Each has a server of its own, and most of their time is waiting.
describe('the session of an instance', { concurrency: 3 }, () => {
  test('a session is opened, beats, drains and is deleted', async () => {
    await using box = await kvBox()
    const others = await aside(box)
    await using a = await member(box, 'a')
    assert.deepEqual([a.session.valid, a.session.acquiring], [false, false])
    await until('it is valid', () => a.session.valid && a.session.acquiring)
    const { sid } = a.session
    await until('it beats', async () => ((await others.readSession(sid))?.record.n ?? 0) >= 2)
    assert.equal((await others.readSession(sid))?.record.silence_ms, TIMES.silenceMs, 'what it is to be judged by')
    await a.session.drain()
    assert.deepEqual([a.session.valid, a.session.acquiring], [true, false])
    assert.equal((await others.readSession(sid))?.record.state, 'draining')
    await a.session.close()
    assert.deepEqual([a.session.valid, await others.readSession(sid)], [false, null])
  })

  test('the first heartbeat after the opening comes early, the others at their interval', async () => {
    const slept: number[] = []
    const beats = new Set([TIMES.firstBeatMs, TIMES.heartbeatMs])
    const clock: Clock = {
      ...systemClock,
      sleep(ms, signal) {
        if (beats.has(ms)) slept.push(ms)
        return systemClock.sleep(ms, signal)
      },
    }
    await using box = await kvBox()
    await using _ = await member(box, 'a', { clock })
    await until('it has beaten twice', () => slept.length >= 3)
    assert.deepEqual(slept.slice(0, 3), [TIMES.firstBeatMs, TIMES.heartbeatMs, TIMES.heartbeatMs])
  })

  test('unsure of its term it asks more often, and no question that nothing answers holds the next one up', async () => {
    const slept: number[] = []
    const sleep: Clock['sleep'] = (ms, signal) => {
      slept.push(ms)
      return systemClock.sleep(ms, signal)
    }
    await using box = await kvBox()
    await using proxy = await startProxy(box.server.port)
    await using a = await member(box, 'a', { port: proxy.port, clock: { ...systemClock, sleep } })
    await until('it is valid', () => a.session.valid)
    proxy.mute('toServer')
    await until('the term runs out', () => !a.session.valid)
    slept.length = 0
    const { requestMs, firstBeatMs } = TIMES
    await until('it has asked twice', () => slept.filter((ms) => ms === firstBeatMs).length >= 2)
    const between = slept.slice(slept.indexOf(firstBeatMs) + 1, slept.lastIndexOf(firstBeatMs))
    assert.ok(between.includes(requestMs), `the look at its own record has the deadline of a heartbeat: ${between}`)
    proxy.heal()
    await until('it is valid again', () => a.session.valid)
  })

  test('a heartbeat that is not acknowledged extends nothing, even when it arrived', async () => {
    await using box = await kvBox()
    await using proxy: TcpProxy = await startProxy(box.server.port)
    const others = await aside(box)
    await using a = await member(box, 'a', { port: proxy.port })
    await until('it is valid', () => a.session.valid)
    const { sid } = a.session
    proxy.mute('toClient')
    const before = (await others.readSession(sid))?.revision ?? 0
    await until(
      'a heartbeat arrives all the same',
      async () => ((await others.readSession(sid))?.revision ?? 0) > before,
    )
    await until('the term runs out', () => !a.session.valid)
    proxy.heal()
    await until('it is valid again', () => a.session.valid)
    assert.deepEqual([a.session.sid, a.lost], [sid, []], 'nobody had declared it dead: the same session goes on')
  })

  test('who was declared dead drops everything and comes back under a new sid', async () => {
    await using box = await kvBox()
    const others = await aside(box)
    await using a = await member(box, 'a')
    await until('it is valid', () => a.session.valid)
    const { sid } = a.session
    await until('it is declared dead', async () => {
      const seen = await others.readSession(sid)
      if (seen === null) return false
      try {
        return (await others.writeSession(sid, { ...seen.record, state: 'dead' }, seen.revision, 1_000)) > 0
      } catch (error) {
        if (error instanceof RevisionConflict) return false
        throw error
      }
    })
    await until('it is back', () => a.session.valid && a.session.sid !== sid)
    assert.deepEqual(a.lost, [sid])
  })

  test('who was declared dead while draining does not come back as live', async () => {
    await using box = await kvBox()
    const others = await aside(box)
    await using a = await member(box, 'a')
    await until('it is valid', () => a.session.valid)
    const { sid } = a.session
    await a.session.drain()
    const seen = await others.readSession(sid)
    assert.ok(seen !== null)
    await until('it is declared dead', async () => {
      const { record: now, revision } = (await others.readSession(sid)) ?? seen
      return (await others.writeSession(sid, { ...now, state: 'dead' }, revision, 1_000)) > 0
    })
    await until('it has noticed', () => a.lost.length === 1)
    // Somebody else's heartbeats tell that there was time enough.
    await using b = await member(box, 'b')
    await until('three heartbeats later', () => (a.leases.sessions.get(b.session.sid)?.record.n ?? 0) >= 3)
    await a.session.drain()
    assert.equal(a.session.sid, sid)
    const live = [...a.leases.sessions.values()].filter(({ record: { state } }) => state === 'live')
    assert.deepEqual(
      live.map(({ sid: of }) => of),
      [b.session.sid],
    )
  })

  test('a wall clock that jumps makes the term unsure until the next heartbeat', async () => {
    let jumpMs = 0
    const clock: Clock = { ...systemClock, wallMs: () => Date.now() + jumpMs }
    await using box = await kvBox()
    await using a = await member(box, 'a', { clock })
    await until('it is valid', () => a.session.valid)
    jumpMs = 3_600_000
    assert.equal(a.session.valid, false)
    await until('it is valid again', () => a.session.valid)
  })

  test('a silent session is declared dead, one that beats is not', async () => {
    await using box = await kvBox()
    const others = await aside(box)
    await using a = await member(box, 'a')
    await using b = await member(box, 'b')
    await others.writeSession('silent', record('c'), null, 1_000)
    const dead = await until('the silent one is dead', async () => {
      await a.observer.scan()
      const seen = await others.readSession('silent')
      return seen?.record.state === 'dead' ? seen.record : undefined
    })
    assert.deepEqual([dead.by, dead.name], [a.session.sid, 'c'])
    assert.equal(a.leases.sessions.get(b.session.sid)?.record.state, 'live')
    assert.deepEqual([a.lost, b.lost], [[], []])
  })

  test('silence is not counted while the own session is unsure', async () => {
    await using box = await kvBox()
    await using proxy: TcpProxy = await startProxy(box.server.port)
    const others = await aside(box)
    await using a = await member(box, 'a', { port: proxy.port })
    await until('a is valid and sees itself', () => a.session.valid && a.leases.sessions.has(a.session.sid))
    await a.observer.scan()
    await using b = await member(box, 'b')
    await until('a sees b', () => a.leases.sessions.has(b.session.sid))
    proxy.hold('toClient')
    // Longer than the silence: to a, everybody has been silent.
    await until('a has heard nothing for longer than the silence', () => {
      const seen = a.leases.sessions.get(b.session.sid)
      return systemClock.monoMs() - (seen?.changedMonoMs ?? 0) > 2 * TIMES.silenceMs
    })
    await a.observer.scan()
    proxy.release()
    await until('a is valid again', async () => {
      await a.observer.scan()
      return a.session.valid
    })
    assert.deepEqual([b.lost, (await others.readSession(b.session.sid))?.record.state], [[], 'live'])
  })
})
