/**
 * Owns everything the simulator knows between two resets: mailboxes, tokens, quotas, faults, log.
 * Refuses HTTP.
 */
import { type Auth, createAuth, type Grant } from './auth.ts'
import { createFaults, type Faults } from './faults.ts'
import { createGmailMailbox, type GmailMailbox } from './gmail-mailbox.ts'
import { createSyncStates, type SyncStates } from './graph-delta.ts'
import { createGraphMailbox, type GraphMailbox } from './graph-mailbox.ts'
import { createLedger, type Ledger } from './ledger.ts'
import type {
  Clock,
  Credentials,
  LogEntry,
  MailboxSpec,
  Mutation,
  Paging,
  ProviderName,
  QuotaProfile,
  Truth,
} from './types.ts'

export interface WorldOptions {
  profile: QuotaProfile
  seed: number
  paging: Paging
  now: () => number
  pageSizeGraph: number
  tokenLifeS: number
  googleRotation: 'never' | 'sometimes'
  strictRotation: boolean
  graceMs: number
  monoMs: () => number
  projectPerMin: number | undefined
  concurrencyGmail: number
  logMost: number
}

export interface Room {
  box: GmailMailbox | GraphMailbox
  states: SyncStates
  grant: Grant
}

export interface World {
  options: WorldOptions
  clock: Clock
  auth: Auth
  faults: Faults
  ledger: Ledger
  log: LogEntry[]
  /** @throws when some of it was left out already */
  logSince: (t: number) => LogEntry[]
  record: (entry: LogEntry) => void
  room: (provider: ProviderName, user: string) => Room
  find: (provider: ProviderName, user: string) => Room | undefined
  addMailbox: (spec: MailboxSpec) => Credentials
  credentials: (user: string, provider: ProviderName) => Credentials
  mutate: (action: Mutation) => string
  truth: (user: string, provider: ProviderName) => Truth
}

export function createWorld(options: WorldOptions): World {
  let offsetMs = 0
  const clock: Clock = {
    now: () => options.now() + offsetMs,
    advance: (ms) => {
      offsetMs += ms
    },
  }
  const rooms = new Map<string, Room>()
  const auth = createAuth({ ...options, clock })
  const log: LogEntry[] = []
  let leftOutT = Number.NEGATIVE_INFINITY

  const find = (provider: ProviderName, user: string) => rooms.get(`${provider}:${user}`)
  const room = (provider: ProviderName, user: string): Room => {
    const hit = find(provider, user)
    if (!hit) throw new Error(`simulator: no mailbox ${provider}:${user}`)
    return hit
  }
  const credentials = (user: string, provider: ProviderName): Credentials => {
    const one = room(provider, user)
    // A new sign-in after a revocation is a new grant.
    if (one.grant.revoked) one.grant = { ...one.grant, revoked: false }
    return auth.issue(one.grant)
  }

  return {
    options,
    clock,
    auth,
    faults: createFaults(options.seed),
    ledger: createLedger(options, clock),
    log,
    record: (entry) => {
      log.push(entry)
      if (log.length <= options.logMost * 1.2) return
      const leftOut = log.splice(0, log.length - options.logMost)
      leftOutT = leftOut.at(-1)?.t ?? leftOutT
    },
    logSince: (t) => {
      if (t <= leftOutT)
        throw new Error(`simulator: only the last ${options.logMost} requests are in the log; raise logMost`)
      return log.filter((entry) => entry.t >= t)
    },
    room,
    find,
    credentials,
    addMailbox: (spec) => {
      const key = `${spec.provider}:${spec.user}`
      if (rooms.has(key)) throw new Error(`simulator: mailbox ${key} exists`)
      const full = { ...spec, seed: spec.seed ?? options.seed }
      const box = spec.provider === 'google' ? createGmailMailbox(full, clock) : createGraphMailbox(full, clock)
      const grant = { provider: spec.provider, user: spec.user, address: box.address, revoked: false }
      rooms.set(key, { box, states: createSyncStates(), grant })
      return credentials(spec.user, spec.provider)
    },
    mutate: (action) => room(action.provider, action.user).box.mutate(action),
    truth: (user, provider) => room(provider, user).box.truth(),
  }
}
