/**
 * Users with a canary each: in the user id, the mailbox, the mails and the tokens. It knows whose a canary is, also that of
 * a token which the provider gives out later; what is asked of the system is the walk's.
 */
import { randomBytes } from 'node:crypto'
import { requestOperation } from '#shared/control-client.ts'
import type { NatsConnection } from '#shared/nats.ts'
import type { ProviderName } from '#shared/subjects.ts'
import type { Answer, Credentials } from '../simulator/types.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { Canaries } from './canaries.ts'

export type Tenant = {
  userId: string
  provider: ProviderName
  canary: string
  credentials: Credentials
  mails: string[]
}

export type Tenants = {
  box: Sandbox
  all: Tenant[]
  /** The canaries of everybody but `owner` in these bytes. */
  foreignIn(bytes: Uint8Array | string, owner: Tenant | null): string[]
  /** A new sign-in, as after a disconnect. */
  signIn(tenant: Tenant): void
}

const PROVIDERS: readonly ProviderName[] = ['google', 'microsoft']
const MAILS = 3

/** A sandbox with the mailboxes of `count` users; nothing is started or connected yet. */
export async function openTenants(count: number, env: Record<string, string>): Promise<Tenants> {
  const canaries = new Canaries()
  const bySimUser = new Map<string, Tenant>()
  // Tokens that come by refreshing.
  const onAnswer = (route: string, { body }: Answer): void => {
    if (!route.endsWith('.token') || typeof body !== 'object') return
    const owner = bySimUser.get(box.sim.log().at(-1)?.mailbox ?? '')
    for (const token of ['access_token', 'refresh_token'] as const)
      if (owner !== undefined && token in body) canaries.add(owner.userId, String(Object(body)[token]))
  }
  const box = await sandbox({ env, simulator: { onAnswer } })
  const own = (tenant: Tenant): void => {
    const { access_token, refresh_token } = tenant.credentials
    for (const secret of [tenant.canary, access_token, refresh_token]) canaries.add(tenant.userId, secret)
  }
  const all = Array.from({ length: count }, (_, i): Tenant => {
    const canary = `canary${i}x${randomBytes(8).toString('hex')}`.slice(0, 16)
    const provider = PROVIDERS[i % 2] ?? 'google'
    const userId = `tenant-${canary}`
    const credentials = box.sim.addMailbox({ user: box.simUser(userId), provider, n: 0 })
    const tenant: Tenant = { userId, provider, canary, credentials, mails: [] }
    bySimUser.set(box.simUser(userId), tenant)
    for (let mail = 0; mail < MAILS; mail++) deliver(box, tenant)
    own(tenant)
    return tenant
  })
  return {
    box,
    all,
    foreignIn: (bytes, owner) => canaries.in(bytes, (name) => name === owner?.userId),
    signIn(tenant) {
      tenant.credentials = box.sim.credentials(box.simUser(tenant.userId), tenant.provider)
      own(tenant)
    },
  }
}

/** A mail that names its owner wherever a mail can. */
export function deliver(box: Sandbox, { userId, provider, canary, mails }: Tenant): void {
  const person = { name: canary, address: `${canary}@example.com` }
  const content = { subject: `to ${canary}`, preview: `about ${canary}`, from: person, to: [person] }
  mails.push(box.sim.mutate({ type: 'deliver', user: box.simUser(userId), provider, ...content }))
}

export const credentialsOf = ({ provider, credentials: { access_token, refresh_token, expires_in } }: Tenant) => ({
  ...{ provider, access_token, refresh_token, expires_in },
})

/** Connects all of them, as a trusted service does, and waits until every mail is on the stream. */
export async function connectAll({ box, all }: Tenants, service: NatsConnection): Promise<void> {
  const connect = (tenant: Tenant) =>
    requestOperation(service, 'connect', { asUser: tenant.userId, body: credentialsOf(tenant), requestId: 'walk' })
  await Promise.all(all.map(connect))
  await box.allLive(
    service,
    all.map(({ userId }) => userId),
  )
}
