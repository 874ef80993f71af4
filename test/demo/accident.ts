/**
 * What happens to an instance in the middle of a backfill. One instance: kill -9, and it is started again on its data.
 * Several: kill -9 of one that owns a user, its disk is deleted, and another one has to take the user over.
 */
import type { StatusReply } from '#shared/contract.ts'
import { type Stage, secondsSince, step } from './stage.ts'
import type { Person } from './world.ts'

export async function killAndRestart({ system, board, view }: Stage, when: string): Promise<void> {
  view.hurt(`kill -9 of the instance ${when}`)
  const { name } = system.instance
  await system.instance.end('SIGKILL')
  board.down = true
  board.show()
  const startedMs = performance.now()
  await system.restartInstance(name)
  board.down = false
  view.done(`started it again on the same data; it ran ${secondsSince(startedMs)} s later`)
}

/** `tick` lets the world go on while users wait for a new owner. */
export async function loseOwner(stage: Stage, when: string, tick: () => Promise<void>): Promise<void> {
  const { system, board, view } = stage
  const { victim, people } = await victimOf(stage)
  view.hurt(`kill -9 of ${victim}, the owner of ${namesOf(people)}, ${when}; its disk is deleted`)
  const [killedMs, killedAtMs] = [performance.now(), Date.now()]
  await system.loseInstance(victim)
  board.orphans = new Set(people)
  const heirs = new Map<Person, string>()
  await step(stage, `another instance works on ${namesOf(people)}`, async () => {
    for (const person of board.orphans) {
      const heir = await heirOf(stage, person, victim, killedAtMs)
      if (heir === null) continue
      heirs.set(person, heir)
      board.orphans.delete(person)
    }
    await tick()
    return board.orphans.size === 0
  })
  const who = [...heirs].map(([{ name }, heir]) => `${heir} works on ${name}`).join(', ')
  view.done(`take-over: ${who} ${secondsSince(killedMs)} s after the kill`)
}

type Owned = { person: Person; account: StatusReply['accounts'][number] | undefined }

/** The owner of a user whose backfill goes on, and all users that it has. */
async function victimOf(stage: Stage): Promise<{ victim: string; people: Person[] }> {
  const { world, people } = stage
  return await step(stage, 'both users have an owner', async () => {
    const owned = await Promise.all(
      people.map(async (person): Promise<Owned> => ({ person, account: (await world.status(person)).accounts[0] })),
    )
    if (owned.some(({ account }) => account?.live !== true)) return null
    const chosen = owned.find(({ account }) => account?.state === 'backfilling') ?? owned[0]
    const victim = chosen?.account?.instance ?? null
    if (victim === null) return null
    return { victim, people: owned.filter(({ account }) => account?.instance === victim).map(({ person }) => person) }
  })
}

/** The instance that owns the person now and has got a page from the provider since the kill; null while there is none. */
async function heirOf({ world }: Stage, person: Person, victim: string, killedAtMs: number): Promise<string | null> {
  const [account] = (await world.status(person)).accounts
  if (account === undefined || !account.live || account.instance === victim) return null
  return (account.last_synced_at ?? 0) * 1000 > killedAtMs ? account.instance : null
}

const namesOf = (people: Iterable<Person>): string => [...people].map(({ name }) => name).join(' and ')
