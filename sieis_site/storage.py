"""Static files under names that change with their content, the imports inside ES modules included."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFiles(CompressedManifestStaticFilesStorage):
    # Otherwise a page's module is new after an upgrade while what it imports may be a minute old.
    support_js_module_import_aggregation = True
