// What every module of the benchmark is given.

export type BenchOptions = {
  /** The short form: fewer rounds and smaller mailboxes. */
  quick: boolean
  /** One line for the person who waits. */
  say(text: string): void
  /** Aborted by ctrl-c: a module then ends its processes and throws. */
  signal: AbortSignal
  /** An empty folder for what the module writes; removed at the end. */
  dir: string
}
