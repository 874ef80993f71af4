/** The disk of one process: the real store on real files, whose every transaction is an effect. */
import type { Epoch } from '../../services/mail/base/model.ts'
import { type UserReader, UserStore } from '../../services/mail/store/user-store.ts'
import type { Life } from './life.ts'

type Options = ConstructorParameters<typeof UserStore>[0]
/** Whoever watches the disk: told of what has been written there. */
export type DiskWatcher = {
  adopted(disk: string, userId: string, epoch: Epoch): void
  /** @param reader looks at what is there now */
  written(disk: string, userId: string, epoch: Epoch, reader: UserReader): void
}

export class SimStore extends UserStore {
  readonly #life: Life
  /** Its name: processes on one folder have the same. */
  readonly #disk: string
  readonly #watcher: DiskWatcher
  readonly #opened = new Set<string>()

  constructor(options: Options, life: Life, disk: string, watcher: DiskWatcher) {
    super(options)
    this.#life = life
    this.#disk = disk
    this.#watcher = watcher
  }

  override inspect(...args: Parameters<UserStore['inspect']>): ReturnType<UserStore['inspect']> {
    this.#life.effect()
    this.#opened.add(args[0])
    return super.inspect(...args)
  }
  override adopt(...args: Parameters<UserStore['adopt']>): ReturnType<UserStore['adopt']> {
    this.#life.effect()
    const result = super.adopt(...args)
    this.#watcher.adopted(this.#disk, args[0], args[1])
    this.#life.effect()
    return result
  }
  override commit<T>(...args: Parameters<typeof UserStore.prototype.commit<T>>): T {
    this.#life.effect()
    const result = super.commit(...args)
    super.read(args[0], (reader) => this.#watcher.written(this.#disk, args[0], args[1], reader))
    // It is on the disk, and nobody lives to know.
    this.#life.effect()
    return result
  }
  override read<T>(...args: Parameters<typeof UserStore.prototype.read<T>>): T {
    this.#life.effect()
    return super.read(...args)
  }

  /** Closes the files; a transaction that was cut off is rolled back. */
  close(): void {
    for (const userId of this.#opened) super.release(userId)
  }
}
