"""What the engine finds of each kind of fault, measured and never written: by which layer, how soon, and how often it
cries for nothing.

Pure: `grounds` lays out readings without a fault, `measuring` plants faults in them and judges, `telling` says it in
words. With the database: `keeping` chooses the model and the readings, and keeps what came of it.
"""
