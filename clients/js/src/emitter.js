// Who wants to be told.

export class Emitter {
  #listeners = new Map();

  /** Calls back at each event of a type. Gives what ends that. */
  on(type, listener) {
    let set = this.#listeners.get(type);
    if (!set) this.#listeners.set(type, (set = new Set()));
    set.add(listener);
    return () => set.delete(listener);
  }

  emit(type, value) {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) {
      // A listener's own mistake is nobody else's.
      void (async () => listener(value))();
    }
  }
}
