/**
 * What does the users' work, and answers what only it knows. Loaded when the endpoints answer (ADR 0037): a package that is
 * missing ends the process then, and not in the midst of the work.
 */
import type { FleetReply } from '#shared/fleet.ts'
import type { RekeyReply, RekeyRequest } from '#shared/rekey.ts'
import { loadUndici } from '../base/http.ts'
import { LoopLag } from '../base/loop-lag.ts'
import { createTelemetry, type Telemetry } from '../base/telemetry.ts'
import type { ControlPorts } from '../control/ports.ts'
import type { Relay } from '../outbox/relay.ts'
import type { Supervisor } from '../owner/supervisor.ts'
import { countDatabaseWork } from './database-work.ts'
import { fleetView } from './fleet.ts'
import { inspector } from './inspect.ts'
import type { Late } from './late.ts'
import { type Base, createSupervisor, levelsOf, type Work } from './ownership.ts'
import { followProjectShare } from './project-share.ts'
import { createProviders } from './providers.ts'
import { countRefusals } from './refusals.ts'
import { rekeying } from './rekey.ts'
import { createRelay } from './relay.ts'

export type Engine = {
  telemetry: Telemetry
  supervisor: Supervisor
  relay: Relay
  identify: ControlPorts['identify']
  inspect: ControlPorts['inspect']
  rekey(request: RekeyRequest, requestId: string): Promise<RekeyReply>
  fleet(): Promise<FleetReply>
}

/** The engine at rest: `supervisor.run` starts it. What has to be closed is put on `base.engine`. */
export async function openEngine(base: Base, telemetryOf: Late<Telemetry>, commit: string): Promise<Engine> {
  const { config, log, clock, background, clients } = base
  loadUndici()
  const store = await base.store()
  const telemetry = createTelemetry(
    log,
    () => levelsOf(supervisor),
    () => base.counter.recent(),
    clock,
  )
  telemetryOf.arrive(telemetry)
  countRefusals({ ...base, store, telemetry })
  countDatabaseWork(store, telemetry)
  const providers = base.engine.use(createProviders(config, clock, clients))
  const learned = (userId: string): void => supervisor.tenures.get(userId)?.learned()
  const relay = createRelay({ ...base, store, telemetry, learned })
  const work: Work = { ...base, store, providers, telemetry, relay }
  const supervisor = createSupervisor(work)
  // Sessions have been seen before anybody listened.
  base.leases.onMembers()
  followProjectShare(work)
  const lag = new LoopLag()
  background.run(lag.run(clock, background.signal))
  return {
    telemetry,
    supervisor,
    relay,
    identify: providers.identify,
    inspect: inspector({ ...work, supervisor }),
    rekey: rekeying(work, supervisor),
    fleet: fleetView({ ...work, supervisor, lag, commit }),
  }
}
