/** The operations of the micro service, and the thread that answers for them. */
import type { Caller, TrailRecord } from '#shared/trail.ts'
import packageJson from '../../../package.json' with { type: 'json' }
import type { AccountRef } from '../base/model.ts'
import { audited } from '../control/audited.ts'
import type { Calls } from '../control/calls.ts'
import { connect } from '../control/connect.ts'
import { disconnect, STOPPED } from '../control/disconnect.ts'
import { erase, refuseOthers } from '../control/erase.ts'
import { inspect, ownerInspect } from '../control/inspect.ts'
import { ownerReply, status } from '../control/status.ts'
import type { ControlThread } from './control-thread.ts'
import type { Engine } from './engine.ts'
import type { Late } from './late.ts'
import type { Base } from './ownership.ts'
import { controlPorts } from './ports.ts'

/** From here on requests are answered; those that only the engine can answer wait until it is there. */
export async function serveRequests(
  thread: ControlThread,
  base: Base,
  engine: Late<Engine>,
  commit: string,
  stop: AbortSignal,
): Promise<void> {
  const { broker, config, instance, address, directoryId } = base
  const { trusted } = broker
  const metadata = {
    instance,
    commit,
    node: process.versions.node,
    data: directoryId,
    trusted: trusted ? 'yes' : 'no',
    docs: 'README.md',
  }
  const { jwt, limits } = config
  const { version } = packageJson
  const options = {
    jwt,
    limits,
    version,
    instance,
    address,
    metadata,
    trusted,
  }
  await thread.start(options, callsOf(base, engine), broker.nc.closed(), stop)
}

function callsOf(base: Base, engine: Late<Engine>): Calls {
  const { broker, config, log, clock, accounts, claims, background, instance } = base
  const ports = controlPorts(base, engine)
  const trail = { note: (record: TrailRecord) => base.trail.note(record), clock, instance }
  const eraseAll = (userId: string, caller: Caller, asked: Pick<AccountRef, 'provider' | 'inboxId'> | null) =>
    audited('erase', { userId, provider: asked?.provider ?? null }, caller, trail, async (record) => {
      if (asked !== null) await refuseOthers({ userId, ...asked }, accounts)
      return { reply: await erase(userId, { accounts, clock }, record), isOwed: true }
    })
  return {
    connect: (userId, request, caller) =>
      audited('connect', { userId, provider: request.provider }, caller, trail, async (record) => {
        const deps = { accounts, claims, ports, clock }
        return { reply: await connect(userId, request, deps, background.signal, record), isOwed: true }
      }),
    status: (userId) =>
      status(userId, { nc: broker.nc, accounts, ports, log, clock, intervalMs: config.pace.intervalMs }),
    disconnect: async (userId, request, caller) => {
      const { provider, inbox_id: inboxId } = request
      if (request.erase) return { message: STOPPED, erasure: await eraseAll(userId, caller, { provider, inboxId }) }
      return await audited('disconnect', { userId, provider }, caller, trail, (record) =>
        disconnect(userId, request, { accounts, clock }, background.signal, record),
      )
    },
    erase: async (userId, caller) => ({ user_id: userId, ...(await eraseAll(userId, caller, null)) }),
    ownerStatus: async (userId) => ownerReply(userId, ports),
    inspect: (name, userId, request) =>
      inspect(name, userId, request, { nc: broker.nc, accounts, ports, clock }, background.signal),
    ownerInspect: (name, userId, request) => ownerInspect(name, userId, request, ports),
    rekey: async (...asked) => (await engine.arrived).rekey(...asked),
    fleet: async () => (await engine.arrived).fleet(),
    metrics: async () => (await engine.arrived).telemetry.flat(),
  }
}
