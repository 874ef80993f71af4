/**
 * What happens outside the service: people with mailboxes at the simulator, and mail that arrives, moves and is deleted
 * while the service works. It speaks to the simulator only, and to the bridge as a web app would.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { StatusReply } from '#shared/contract.ts'
import type { ProviderUpper } from '#shared/event.ts'
import type { ProviderName } from '#shared/subjects.ts'
import type { Credentials, MailboxSpec, Mutation, Rule, Truth } from '../simulator/types.ts'
import type { System } from './system.ts'

const HTTP_DEADLINE_MS = 15_000
const PACE_MS = 1_200
/** A page of Graph takes this long here, so that both backfills last a few seconds. */
const GRAPH_PAGE_MS = 150

/** A signed-up user with one mailbox. */
export type Person = {
  name: string
  email: string
  userId: string
  jwt: string
  provider: ProviderName
  upper: ProviderUpper
}
type Change =
  | { type: 'deliver'; subject: string; from: { name: string; address: string } }
  | { type: 'move'; id: string; to: string }
  | { type: 'delete'; id: string }
export type NewMail = { person: Person; subject: string; from: string; id: string; deliveredAtMs: number }

const LETTERS = [
  ['Q3 invoice', 'Acme Billing', 'billing@acme.example'],
  ['Grüße aus Köln', 'Jürgen Müller', 'juergen@koeln.example'],
  ['Your order has shipped', 'Parcels', 'orders@shop.example'],
  ['会議の議事録', '山田 太郎', 'yamada@tokyo.example'],
  ['Lunch on Friday?', "Conan O'Brien", 'conan@friends.example'],
  ['Minutes, "final", v2', 'Smith, John (Sales)', 'john@sales.example'],
] as const

async function json(url: string, init: RequestInit = {}): Promise<unknown> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(HTTP_DEADLINE_MS) })
  const text = await response.text()
  if (!response.ok) throw new Error(`${init.method ?? 'GET'} ${new URL(url).pathname}: ${response.status} ${text}`)
  return JSON.parse(text)
}
const post = (url: string, body: unknown, headers: Record<string, string> = {}): Promise<unknown> =>
  json(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
const bearer = ({ jwt }: Person): Record<string, string> => ({ authorization: `Bearer ${jwt}` })

export class World {
  readonly #system: System
  constructor(system: System) {
    this.#system = system
  }
  /** Signs up with Better Auth; the user's JWT is left in `name.jwt` for the curious. */
  async signUp(name: string, provider: ProviderName): Promise<Person> {
    const email = `${name}@example.com`
    const user = await this.#system.auth.signUp(email)
    const jwt = await user.jwt()
    await writeFile(join(this.#system.dir, `${name}.jwt`), jwt, { mode: 0o600 })
    const upper = provider === 'google' ? 'GOOGLE' : 'MICROSOFT'
    return { name, email, userId: user.userId, jwt, provider, upper }
  }
  async slowGraph(): Promise<void> {
    const rule: Rule = { match: { route: 'graph.messages.delta' }, fault: { type: 'delay', ms: GRAPH_PAGE_MS } }
    await post(this.#simulator('faults'), rule)
  }
  /** Makes a mailbox of `n` mails at the simulator and connects it over HTTP. */
  async connect(person: Person, n: number): Promise<void> {
    const spec: MailboxSpec = { user: person.name, provider: person.provider, n }
    const granted = (await post(this.#simulator('mailboxes'), spec)) as Credentials
    const { access_token, refresh_token, expires_in } = granted
    const body = { provider: person.provider, access_token, refresh_token, expires_in }
    await post(`${this.#system.bridgeUrl}/mail/connect`, body, bearer(person))
  }
  async status(person: Person): Promise<StatusReply> {
    return v.parse(StatusReply, await json(`${this.#system.bridgeUrl}/mail/status`, { headers: bearer(person) }))
  }
  /** What the provider says must have been received. */
  async truth({ name, provider }: Person): Promise<Truth> {
    return (await json(this.#simulator(`truth?user=${name}&provider=${provider}`))) as Truth
  }
  /** Changes the person's mailbox; answers the id of the mail. */
  async change({ name, provider }: Person, change: Change): Promise<string> {
    const action: Mutation = { ...change, user: name, provider }
    return ((await post(this.#simulator('mutate'), action)) as { id: string }).id
  }
  #simulator(path: string): string {
    return `${this.#system.simulatorUrl}/__sim/${path}`
  }
}

/** Mail that arrives, moves and is deleted, at a steady pace. */
export class Traffic {
  delivered = 0
  moved = 0
  deleted = 0
  readonly #world: World
  readonly #people: readonly Person[]
  /** Ids that may be moved or deleted, old and new mixed. */
  readonly #touchable: Map<Person, string[]>
  #nextAtMs = 0

  constructor(world: World, people: readonly Person[], truths: readonly Truth[]) {
    this.#world = world
    this.#people = people
    this.#touchable = new Map(people.map((person, at) => [person, spread(truths[at]?.must ?? [])]))
  }
  /** One new mail when it is time for one; after each second one a mail moves, after each third one is deleted. */
  async tick(paceMs = PACE_MS): Promise<NewMail | null> {
    if (Date.now() < this.#nextAtMs) return null
    this.#nextAtMs = Date.now() + paceMs
    const turn = this.delivered
    const person = this.#people[turn % this.#people.length]
    if (person === undefined) return null
    if (turn % 2 === 1) await this.#move(person)
    if (turn % 3 === 2) await this.#delete(person)
    return await this.#deliver(person)
  }
  async #deliver(person: Person): Promise<NewMail> {
    const [subject, name, address] = LETTERS[this.delivered % LETTERS.length] ?? LETTERS[0]
    const deliveredAtMs = Date.now()
    const id = await this.#world.change(person, { type: 'deliver', subject, from: { name, address } })
    this.delivered += 1
    return { person, subject, from: address, id, deliveredAtMs }
  }
  async #move(person: Person): Promise<void> {
    const id = this.#touchable.get(person)?.pop()
    if (id === undefined) return
    await this.#world.change(person, { type: 'move', id, to: person.provider === 'google' ? 'Receipts' : 'archive' })
    this.moved += 1
  }
  async #delete(person: Person): Promise<void> {
    const id = this.#touchable.get(person)?.pop()
    if (id === undefined) return
    await this.#world.change(person, { type: 'delete', id })
    this.deleted += 1
  }
}

/** A few of the ids from all over the mailbox, in an order that mixes old and new. */
function spread(ids: readonly string[]): string[] {
  const count = Math.min(64, Math.floor(ids.length / 4))
  const chosen = Array.from({ length: count }, (_, i) => ids[Math.floor((((i * 29) % 64) / 64) * ids.length)] ?? '')
  return [...new Set(chosen)]
}
