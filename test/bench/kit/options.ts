// What every module of the benchmark is given.

export type BenchOptions = {
  /** The short form: fewer rounds and smaller mailboxes. */
  quick: boolean
  /** One line for the person who waits. */
  say(text: string): void
  /** Aborted by ctrl-c: a module then ends its processes and throws. */
  signal: AbortSignal
  /** Profiles of instances of throughput go into this folder, and where their time goes is told; null = nobody asked for it. */
  profiles: string | null
  /** An empty folder for what the module writes; removed at the end. */
  dir: string
}
