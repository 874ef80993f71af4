/** The supervisor out of its parts: who owns whom, and what a tenure works with. */
import { termId, trailRecord } from '#shared/trail.ts'
import packageJson from '../../../package.json' with { type: 'json' }
import { toSeconds } from '../base/model.ts'
import type { Telemetry } from '../base/telemetry.ts'
import { Holdings } from '../outbox/holdings.ts'
import type { Relay } from '../outbox/relay.ts'
import { eraseUser } from '../owner/erasure.ts'
import { leaseTimes } from '../owner/lease-times.ts'
import { Supervisor } from '../owner/supervisor.ts'
import type { SupervisorDeps } from '../owner/tenure-deps.ts'
import type { UserStore } from '../store/user-store.ts'
import { openCredential } from '../token/credential.ts'
import { revokeGrant } from '../token/refresh.ts'
import type { Credentials } from './credentials.ts'
import type { Ground } from './ground.ts'
import type { Providers } from './providers.ts'
import { createIdlePolls, createWorker } from './workers.ts'

/** Control arm of tests: the deadline of a term lies an endless margin away. */
const NO_END = { marginMs: Number.NEGATIVE_INFINITY }

/** What the endpoints stand on. */
export type Base = Ground & Credentials
/** All that a user's work takes. */
export type Work = Omit<Base, 'store'> & { store: UserStore; providers: Providers; telemetry: Telemetry; relay: Relay }

export function createSupervisor(work: Work): Supervisor {
  const { accounts, leases, clock, log, config, controls, instance, address, directoryId, holdsDirectory } = work
  return new Supervisor({
    accounts,
    leases,
    times: { ...leaseTimes(config.silenceMs), ...(controls.endTerms === false ? NO_END : {}) },
    identity: {
      name: instance,
      directory: directoryId,
      holdsDirectory,
      address,
      version: packageJson.version,
    },
    clock,
    log,
    tenure: tenureOf(work),
  })
}

function tenureOf(work: Work): SupervisorDeps['tenure'] {
  const { broker, providers, clients, seal, config, controls, trail, clock, instance } = work
  const revoke: SupervisorDeps['tenure']['revoke'] = async (account, credential, abort) => {
    const client = clients[account.provider]
    if (client !== undefined)
      await revokeGrant(client, (await openCredential(seal, account, credential)).refreshToken, abort)
  }
  const erasure = { ...work, revoke, holdings: new Holdings(broker) }
  return {
    ...work,
    pace: config.pace,
    silenceMs: config.silenceMs,
    snapshots: broker.snapshots,
    streamFacts: broker.streamFacts,
    streamHolds: broker.streamHolds,
    eventAt: broker.eventAt,
    idlePoll: createIdlePolls(work),
    retentionMs: config.outbox.retentionDays * 86_400_000,
    refillLanes: (provider, lanes) => providers.byName[provider].refillLanes(lanes),
    polled: (account, lane) => providers.byName[account.provider].polled(lane),
    worker: (entry, epoch, hooks) => createWorker(work, entry, epoch, hooks),
    termBegan: (userId, epoch, how) => {
      const id = termId(userId, epoch)
      const atS = toSeconds(clock.wallMs())
      const by = { by: 'instance', requestId: null } as const
      trail.note(trailRecord({ ...by, id, action: 'ownership', userId, provider: null, instance, atS, how }))
    },
    revoke,
    erase: (userId, epoch, abort) => eraseUser(userId, epoch, erasure, abort),
    ...(controls.earlyCheckpoint === undefined ? {} : { earlyCheckpoint: true }),
  }
}

/** What the metrics show of the users that this instance owns. */
export function levelsOf(supervisor: Supervisor): {
  accounts: Record<string, number>
  outboxPending: number
  users: number
} {
  const accounts: Record<string, number> = {}
  let outboxPending = 0
  for (const tenure of supervisor.tenures.values()) {
    outboxPending += tenure.pending
    const states = tenure.statuses()?.map(({ state }) => state) ?? tenure.rest.known
    for (const state of states) accounts[state] = (accounts[state] ?? 0) + 1
  }
  return { accounts, outboxPending, users: supervisor.tenures.size }
}
