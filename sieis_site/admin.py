"""The admin's name; what stands in it is registered by the apps."""

from django.contrib import admin

admin.site.site_header = "SIEIS administration"
admin.site.site_title = "SIEIS"
admin.site.index_title = "What SIEIS keeps"
