/** Plays a plot to its end: trouble, healing, and the books. */

import type { Mutant } from './mutants.ts'
import { type Act, type Plot, TROUBLE_MS } from './plot.ts'
import type { SimProcess } from './process.ts'
import { World } from './world.ts'

/**
 * From the healing on everybody has so long to get everything onto the stream; ten minutes more where positions of a
 * mailbox were forgotten twice, because so long it is then left alone.
 */
const PATIENCE_MS = 120_000
const LEFT_ALONE_MS = 600_000
/** And then whoever wants may still do something wrong. */
const AFTERMATH_MS = 8_000

/** `trace`: what stands on the streams at the end, and since when. */
export type Outcome = { faults: string[]; tally: World['tally']; trace: string }

export async function play(seed: number, plot: Plot, mutant: Mutant | null): Promise<Outcome> {
  using world = new World(seed, mutant, plot.takesBatches)
  for (const { user, mails } of plot.users) world.connect(user, mails)
  for (const name of plot.processes) world.start(name)
  for (const act of plot.acts) world.timeline.after(act.atMs, () => perform(world, act))
  await world.timeline.run(TROUBLE_MS)
  heal(world)
  const isLeftAlone = plot.acts.filter((act) => act.do === 'expire').length > 1
  const patienceMs = PATIENCE_MS + (isLeftAlone ? LEFT_ALONE_MS : 0)
  await world.timeline.run(patienceMs, () => world.faults.length > 0 || world.isComplete)
  if (!world.isComplete) world.fail('stuck')
  await world.timeline.run(AFTERMATH_MS)
  world.audit()
  return { faults: world.faults, tally: world.tally, trace: world.trace }
}

const current = (world: World, name: string): SimProcess | undefined =>
  world.processes.findLast((each) => each.name === name)

function perform(world: World, act: Act): void {
  const { timeline } = world
  if (act.do === 'deliver') world.mailboxOf(act.user).count += act.mails
  else if (act.do === 'expire') world.mailboxOf(act.user).expire()
  else if (act.do === 'fall') world.fall(act.lostMs, act.downMs)
  else if (act.do === 'provider') {
    const mailbox = world.mailboxOf(act.user)
    mailbox.faults = act.part
    timeline.after(act.ms, () => {
      mailbox.faults = 0
    })
  } else if (act.do === 'join') {
    if (current(world, act.name) === undefined) world.start(act.name)
  } else befall(world, act)
}

function befall(world: World, act: Extract<Act, { name: string }>): void {
  const process = current(world, act.name)
  if (process === undefined || process.hasEnded) return
  const { timeline } = world
  switch (act.do) {
    case 'crash': {
      const closed = process.life.onDeath
      process.life.onDeath = () => {
        closed()
        if (!process.hasStopped) world.tally.crashes += 1
        timeline.after(act.backMs, () => {
          if (current(world, act.name) !== process) return
          if (act.wipe) world.loseDisk(process)
          world.start(act.name)
        })
      }
      process.life.dieIn(act.effects)
      break
    }
    case 'term':
      process.term()
      timeline.after(act.backMs + 10_500, () => {
        process.life.die()
        // The files are closed in the next moment.
        timeline.after(1, () => {
          if (current(world, act.name) === process) world.start(act.name)
        })
      })
      break
    case 'freeze':
      process.life.freeze()
      timeline.after(act.ms, () => process.life.thaw())
      break
    case 'link':
      process.link.set(act.state)
      timeline.after(act.ms, () => process.link.set('open'))
      break
    case 'loss':
      process.link.loss = act.part
      timeline.after(act.ms, () => {
        process.link.loss = 0
      })
      break
    case 'twin': {
      process.life.freeze()
      world.start(act.name)
      timeline.after(act.pausedMs, () => process.life.thaw())
      timeline.after(act.pausedMs + act.overlapMs, () => process.life.die())
      break
    }
    default:
  }
}

/** Whatever still is to end ends; who has been gone for good comes back by what was planned for it. */
function heal(world: World): void {
  for (const process of world.processes) {
    process.life.thaw()
    process.link.loss = 0
    process.link.set('open')
  }
  for (const mailbox of world.mailboxes.values()) mailbox.faults = 0
}
